"""The ranges that packages declare for one another, extras included, and how they follow.

A range moves when a sibling's version leaves it, to the new version's own range. It is never
widened over a break: the old end would be a promise that nothing here tests.

Its lower end rises when the sibling's versions before this one cannot be installed beside what else
the package needs: they were made for what came before a break in a third package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packaging.version import Version

import workspace
from workspace import Package

from .history import folder_name, project_at
from .refusal import Refused
from .versions import admits, are_disjoint


def requirements(package: Package) -> dict[str, list[str]]:
    """What a package declares of its siblings, by the sibling's name."""
    return _declared(workspace.project(package.folder))


def excluding(sibling: Package, version: Version) -> list[Package]:
    """The packages whose ranges do not admit a sibling at that version, in order."""
    return [
        package
        for package in workspace.packages()
        if any(not admits(r, version) for r in requirements(package).get(sibling.name, []))
    ]


def beyond(sibling: Package, last: Version) -> list[Package]:
    """The packages that admit a sibling's last version but cannot be installed with it, in order.

    That version needs another version of a third package than they do.
    """
    needed = _declared(project_at(sibling, last))
    found = []
    for package in workspace.packages():
        declared = requirements(package)
        if any(admits(r, last) for r in declared.get(sibling.name, [])) and any(
            are_disjoint(one, other)
            for third in declared.keys() & needed.keys()
            for one in declared[third]
            for other in needed[third]
        ):
            found.append(package)
    return found


def rewritten(
    package: Package, sibling: Package, version: Version, change: Callable[[str, Version], str]
) -> tuple[str, str]:
    """The package's pyproject.toml with another range for a sibling.

    Args:
      package: the one that declares the range.
      sibling: the one that it is for.
      version: of the sibling.
      change: of a requirement: `versions.moved` lets the range follow the sibling to that version,
        `versions.raised` lets it begin there.

    Returns:
      The text, and the requirement as it is now.

    Raises:
      Refused: the requirement is not written as one string in double quotes.
    """
    text = (package.folder / "pyproject.toml").read_text(encoding="utf-8")
    now = ""
    for requirement in requirements(package)[sibling.name]:
        now = change(requirement, version)
        if f'"{requirement}"' not in text:
            raise Refused(
                f"{folder_name(package)}/pyproject.toml does not hold {requirement!r} as one "
                "string in double quotes.",
                "Write it so; its range has to move.",
            )
        text = text.replace(f'"{requirement}"', f'"{now}"')
    return text, now


def _declared(settings: dict[str, Any]) -> dict[str, list[str]]:
    names = {p.name for p in workspace.packages()}
    table = settings["project"]
    optional = table.get("optional-dependencies", {}).values()
    found: dict[str, list[str]] = {}
    for requirement in [*table.get("dependencies", []), *(r for rs in optional for r in rs)]:
        name = workspace.requirement_name(requirement)
        if name in names and requirement not in found.setdefault(name, []):
            found[name].append(requirement)
    return {name: declared for name, declared in found.items() if declared}
