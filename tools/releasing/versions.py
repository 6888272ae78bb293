"""Versions as this project counts them, and the ranges that siblings declare.

A version is three numbers. Below 1.0, a new minor version may break something and a new patch
version may not, whether it fixes or adds; from 1.0 on, a breaking change takes a major version, an
addition a minor one, and a fix a patch. A sibling is declared from some version up to the next that
may break something, `>=0.2,<0.3`. A range has to move exactly when a version is outside of it.
"""

from __future__ import annotations

import enum

from packaging.requirements import Requirement
from packaging.version import Version

import workspace

PARTS = ("first", "patch", "minor", "major")


class Step(enum.IntEnum):
    """How much a release changes for those who use the package."""

    MEND = 0
    ADDITION = 1
    BREAK = 2


def bumped(version: Version, part: str) -> Version:
    """The version that follows: 0.1.2 becomes 0.1.3, 0.2.0 or 1.0.0, and stays at `first`."""
    major, minor, patch = version.release
    return {
        "first": version,
        "patch": Version(f"{major}.{minor}.{patch + 1}"),
        "minor": Version(f"{major}.{minor + 1}.0"),
        "major": Version(f"{major + 1}.0.0"),
    }[part]


def next_break(version: Version) -> Version:
    """The first version above that may break what was there: 0.2 for 0.1.3, 2 for 1.4.0."""
    return Version(workspace.next_breaking(str(version)))


def allowed(old: Version, new: Version) -> Step:
    """What may have changed between two versions."""
    if new >= next_break(old):
        return Step.BREAK
    if old.major == 0 or new.minor > old.minor:
        return Step.ADDITION
    return Step.MEND


def part_for(version: Version, step: Step) -> str:
    """The smallest bump of `version` that allows such a change."""
    return next(p for p in PARTS[1:] if allowed(version, bumped(version, p)) >= step)


def admits(requirement: str, version: Version) -> bool:
    """Whether a requirement, such as `linnet-struct>=0.1,<0.2`, can be met by that version."""
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def moved(requirement: str, version: Version) -> str:
    """The requirement for a sibling that is now at `version`; the same if it can be met."""
    if admits(requirement, version):
        return requirement
    return _with(requirement, workspace.range_from(str(version)))


def raised(requirement: str, version: Version) -> str:
    """The requirement for a sibling, from `version` on and no further than before."""
    return _with(requirement, f">={version},<{_end(version)}")


def are_disjoint(one: str, other: str) -> bool:
    """Whether no version meets both of two requirements, each from a version up to another."""
    (start, end), (other_start, other_end) = _bounds(one), _bounds(other)
    return end <= other_start or other_end <= start


def _bounds(requirement: str) -> tuple[Version, Version]:
    found = {s.operator: Version(s.version) for s in Requirement(requirement).specifier}
    # A version of epoch 1 is above all that have none.
    return found.get(">=", Version("0")), found.get("<", Version("1!0"))


def _with(requirement: str, range_: str) -> str:
    parsed = Requirement(requirement)
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    marker = f"; {parsed.marker}" if parsed.marker else ""
    return f"{parsed.name}{extras}{range_}{marker}"


def _end(version: Version) -> str:
    return workspace.range_from(str(version)).rpartition("<")[2]
