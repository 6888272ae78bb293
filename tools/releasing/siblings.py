"""The ranges that packages declare for one another, extras included, and how they follow.

A range moves when a sibling's version leaves it, to the new version's own range. It is never
widened over a break: the old end would be a promise that nothing here tests.
"""

from __future__ import annotations

from packaging.version import Version

import workspace
from workspace import Package

from .history import folder_name
from .refusal import Refused
from .versions import admits, moved


def requirements(package: Package) -> dict[str, list[str]]:
    """What a package declares of its siblings, by the sibling's name."""
    names = {p.name for p in workspace.packages()}
    table = workspace.project(package.folder)["project"]
    optional = table.get("optional-dependencies", {}).values()
    found: dict[str, list[str]] = {}
    for requirement in [*table.get("dependencies", []), *(r for rs in optional for r in rs)]:
        name = workspace.requirement_name(requirement)
        if name in names and requirement not in found.setdefault(name, []):
            found[name].append(requirement)
    return {name: declared for name, declared in found.items() if declared}


def excluding(sibling: Package, version: Version) -> list[Package]:
    """The packages whose ranges do not admit a sibling at that version, in order."""
    return [
        package
        for package in workspace.packages()
        if any(not admits(r, version) for r in requirements(package).get(sibling.name, []))
    ]


def following(package: Package, sibling: Package, version: Version) -> tuple[str, str]:
    """The package's pyproject.toml with the range that admits a sibling at that version.

    Returns:
      The text, and the requirement as it is now.

    Raises:
      Refused: the requirement is not written as one string in double quotes.
    """
    text = (package.folder / "pyproject.toml").read_text(encoding="utf-8")
    now = ""
    for requirement in requirements(package)[sibling.name]:
        now = moved(requirement, version)
        if f'"{requirement}"' not in text:
            raise Refused(
                f"{folder_name(package)}/pyproject.toml does not hold {requirement!r} as one "
                "string in double quotes.",
                "Write it so; its range has to move.",
            )
        text = text.replace(f'"{requirement}"', f'"{now}"')
    return text, now
