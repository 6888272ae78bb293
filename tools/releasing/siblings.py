"""The ranges that packages declare for each other, extras included, and how they change.

When a sibling's version leaves a range, the range moves to that of the new version. It is never
widened across a break, because no test would cover its old end.

Its lower end rises when older versions of the sibling depend on a third package from before a
breaking change, so that they cannot be installed with the package's other requirements.
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
    """A package's requirements on its siblings, by the sibling's name."""
    return _declared(workspace.project(package.folder))


def excluding(sibling: Package, version: Version) -> list[Package]:
    """The packages whose ranges exclude a sibling at that version, in order."""
    return [
        package
        for package in workspace.packages()
        if any(not admits(r, version) for r in requirements(package).get(sibling.name, []))
    ]


def beyond(sibling: Package, last: Version) -> list[Package]:
    """The packages that admit a sibling's last version but cannot be installed with it, in order.

    That version requires a different version of a third package from the one that they require.
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
    """The package's pyproject.toml with a different range for a sibling.

    Args:
      package: the package that declares the range.
      sibling: the sibling that the range is for.
      version: the version of the sibling.
      change: `versions.moved`, which moves the range to that version, or `versions.raised`, which
        raises its lower end to that version.

    Returns:
      The text, and the new requirement.

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
                "Write it that way; its range has to move.",
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
