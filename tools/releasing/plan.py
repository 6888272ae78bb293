"""The packages to release now, each after those that it requires.

A package is due if a file that its users get has changed since its last tag, or if a sibling that
is due leaves the range that the package declares. The versions are the smallest that `demand`
allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from packaging.version import Version

import workspace
from workspace import Package

from .changelog import Changelog
from .demand import Demand, breaks_with, demand
from .history import changed_since, last_tag, require_whole_history, tag_name
from .siblings import requirements
from .versions import Step, admits, bumped, part_for


@dataclass(frozen=True)
class Due:
    """A package to release.

    Attributes:
      bump: `first`, `patch`, `minor` or `major`; None if only the tag is missing.
      next: the version to release.
      changed: the files that differ from the last tag.
      follows: the siblings that leave the range declared for them.
      inherits: those siblings whose breaking change also breaks this package, which re-exports
        their names.
      is_told: whether the changelog has entries for it.
    """

    demand: Demand
    bump: str | None
    next: Version
    changed: tuple[str, ...]
    follows: tuple[str, ...]
    inherits: tuple[str, ...]
    is_told: bool

    @property
    def package(self) -> Package:
        """The package to release."""
        return self.demand.package

    @property
    def tag(self) -> str:
        """The tag that releases it."""
        return tag_name(self.package, self.next)

    @property
    def reasons(self) -> list[str]:
        """The reasons why it is due, and what is still missing."""
        found = [] if self.demand.last else ["first release"]
        if self.changed:
            count = len(self.changed)
            found.append(f"{count} file{'s' if count > 1 else ''} changed")
        if self.demand.broken:
            found.append(f"{len(self.demand.broken)} broken")
        if self.demand.new:
            found.append(f"{len(self.demand.new)} added")
        for name in self.follows:
            found.append(f"{'breaks with' if name in self.inherits else 'follows'} {name}")
        if not self.is_told:
            found.append("nothing in CHANGELOG.md yet")
        return found


def plan() -> list[Due]:
    """The packages that are due, in the order of their release."""
    require_whole_history()
    due: dict[str, Due] = {}
    for package in workspace.packages():
        last, version = last_tag(package), Version(package.version)
        changed = changed_since(tag_name(package, last), package) if last else []
        follows = [
            name
            for name, declared in requirements(package).items()
            if name in due and not all(admits(r, due[name].next) for r in declared)
        ]
        if last and not changed and not follows:
            continue
        inherits = [name for name in follows if breaks_with(package, due[name].demand)]
        log = Changelog.of(package)
        told = bool(log.sections())
        if log.is_dated(str(version)) and (last is None or version > last) and not told:
            asked, bump, following = demand(package, str(version)), None, version
        elif last is None:
            asked, bump, following = demand(package), "first", version
        else:
            asked = demand(package)
            bump = part_for(last, Step.BREAK if inherits else asked.step)
            following = bumped(max(last, version), bump)
        due[package.name] = Due(
            asked,
            bump,
            following,
            tuple(changed),
            tuple(follows),
            tuple(inherits),
            told or bump is None,
        )
    return list(due.values())


def table(due: list[Due]) -> str:
    """The plan as text for people."""
    if not due:
        return "Nothing has changed since the last tags."
    rows = [("package", "last release", "now", "bump", "next", "because")]
    rows += [
        (
            d.package.name,
            str(d.demand.last or "none"),
            d.package.version,
            d.bump or "done",
            str(d.next),
            "; ".join(d.reasons) or "bumped, not tagged",
        )
        for d in due
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, [*widths, 0], strict=True)) for r in rows]
    for d in due:
        if d.demand.broken:
            lines += ["", f"{d.package.name} breaks {d.demand.last}:"]
            lines += [f"  {b.name} {b.what}  ({b.place})" for b in d.demand.broken]
    lines += ["", "Tags, in this order; push each one once the one before is released:"]
    lines += [f"  {d.tag}" for d in due]
    return "\n".join(line.rstrip() for line in lines)


def as_json(due: list[Due]) -> dict[str, Any]:
    """The plan as data for programs."""
    return {
        "packages": [
            {
                "name": d.package.name,
                "short_name": d.package.short_name,
                "last": str(d.demand.last) if d.demand.last else None,
                "version": d.package.version,
                "bump": d.bump,
                "next": str(d.next),
                "changed": d.changed,
                "broken": [{"name": b.name, "what": b.what} for b in d.demand.broken],
                "added": [a.name for a in d.demand.new],
                "follows": d.follows,
                "told": d.is_told,
            }
            for d in due
        ],
        "tags": [d.tag for d in due],
    }
