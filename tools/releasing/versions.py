"""Versions, and the ranges that siblings declare.

A version consists of three numbers. Below 1.0, a new minor version may break programs, and a new
patch version contains only fixes and additions; from 1.0 on, a breaking change requires a major
version, an addition a minor one, and a fix a patch. The range for a sibling extends from some
version to the next that may break programs: `>=0.2,<0.3`. A range is changed only when a sibling's
version is outside it.
"""

from __future__ import annotations

import enum

from packaging.requirements import Requirement
from packaging.version import Version

import workspace

PARTS = ("first", "patch", "minor", "major")


class Step(enum.IntEnum):
    """The size of a release's change for users of the package."""

    FIX = 0
    ADDITION = 1
    BREAK = 2


def bumped(version: Version, part: str) -> Version:
    """The next version: 0.1.2 becomes 0.1.3, 0.2.0 or 1.0.0, or stays for `first`."""
    major, minor, patch = version.release
    return {
        "first": version,
        "patch": Version(f"{major}.{minor}.{patch + 1}"),
        "minor": Version(f"{major}.{minor + 1}.0"),
        "major": Version(f"{major + 1}.0.0"),
    }[part]


def next_break(version: Version) -> Version:
    """The next version that may break programs: 0.2 for 0.1.3, 2 for 1.4.0."""
    return Version(workspace.next_breaking(str(version)))


def allowed(old: Version, new: Version) -> Step:
    """The largest change that two versions allow between them."""
    if new >= next_break(old):
        return Step.BREAK
    if old.major == 0 or new.minor > old.minor:
        return Step.ADDITION
    return Step.FIX


def part_for(version: Version, step: Step) -> str:
    """The smallest bump of `version` that allows a change."""
    return next(p for p in PARTS[1:] if allowed(version, bumped(version, p)) >= step)


def admits(requirement: str, version: Version) -> bool:
    """Whether a version meets a requirement such as `linnet-struct>=0.1,<0.2`."""
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def moved(requirement: str, version: Version) -> str:
    """The requirement for a sibling at `version`; unchanged if the version meets it."""
    if admits(requirement, version):
        return requirement
    return _with(requirement, workspace.range_from(str(version)))


def raised(requirement: str, version: Version) -> str:
    """The requirement for a sibling, raised to begin at `version`, with the same end."""
    return _with(requirement, f">={version},<{_end(version)}")


def are_disjoint(one: str, other: str) -> bool:
    """Whether no version meets both of two requirements."""
    (start, end), (other_start, other_end) = _bounds(one), _bounds(other)
    return end <= other_start or other_end <= start


def _bounds(requirement: str) -> tuple[Version, Version]:
    found = {s.operator: Version(s.version) for s in Requirement(requirement).specifier}
    # A version with epoch 1 is above all versions without an epoch.
    return found.get(">=", Version("0")), found.get("<", Version("1!0"))


def _with(requirement: str, range_: str) -> str:
    parsed = Requirement(requirement)
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    marker = f"; {parsed.marker}" if parsed.marker else ""
    return f"{parsed.name}{extras}{range_}{marker}"


def _end(version: Version) -> str:
    return workspace.range_from(str(version)).rpartition("<")[2]
