"""Writes a new version of one package into its files.

All edits are prepared before the first one is written, so an error leaves no trace. There are three
kinds: the version in `__about__.py`; the date of the changelog's unreleased part; and, if the
version leaves the range that a sibling declares, that range, with an entry in the sibling's
changelog, after which the sibling has to be released as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

import workspace
from workspace import Package

from .changelog import SECTIONS, Changelog
from .demand import Demand, breaks_with, demand
from .history import last_tag, require_whole_history, tag_exists, tag_name, uncommitted
from .refusal import Refused
from .siblings import beyond, excluding, rewritten
from .versions import Step, allowed, bumped, moved, part_for, raised


@dataclass(frozen=True)
class Bump:
    """The edits of a bump.

    Attributes:
      edits: the new text of each file.
      moved: the new requirement that each sibling declares, by its short name.
    """

    package: Package
    version: Version
    edits: dict[Path, str]
    moved: dict[str, str]

    def write(self) -> None:
        """Writes the files."""
        for path, text in self.edits.items():
            path.write_text(text, encoding="utf-8")

    def report(self) -> str:
        """Text for people: the changes, and what to do next."""
        files = [path.relative_to(workspace.ROOT).as_posix() for path in self.edits]
        lines = [f"{self.package.name} {self.package.version} -> {self.version}"]
        lines += [f"  {name}" for name in files]
        lines += [
            f"{short_name} needs {requirement} now: its range has moved."
            for short_name, requirement in self.moved.items()
        ]
        lines += ["", "Look at it with `git diff`, then:"]
        lines.append(f'  git commit -m "{self.package.name} {self.version}" -- {" ".join(files)}')
        if self.moved:
            lines.append(
                "and release the others as well; `plan` shows by how much, in which order:"
            )
            lines += [f"  python tools/release.py bump {name} ..." for name in self.moved]
        lines += ["", "When that is on the main branch and its checks have passed:"]
        tag = tag_name(self.package, self.version)
        lines += [f"  git tag {tag}", f"  git push origin {tag}"]
        return "\n".join(lines)


def bump(package: Package, part: str, date: str) -> Bump:
    """Prepares a bump.

    Args:
      package: the package.
      part: `major`, `minor`, `patch`, or `first` for a first release of the version as it is.
      date: the date of the release, `2026-11-21`.

    Raises:
      Refused: the bump isn't allowed; the message says why, where, and how to fix it.
    """
    require_whole_history()
    if changes := uncommitted():
        raise Refused(
            "The tree is not clean, and only committed changes are released.",
            *changes[:10],
            *(["..."] if len(changes) > 10 else []),
            "Commit or stash these changes.",
        )
    last, now = last_tag(package), Version(package.version)
    version = bumped(now, part)
    _refuse_version(package, part, last, version)
    log = Changelog.of(package)
    if not log.sections():
        raise Refused(
            f"{log.where} has no entries under '## Unreleased'.",
            f"Tell the users of {package.name} what is new for them, and commit that.",
        )
    asked = demand(package)
    if last is not None:
        _refuse_step(asked, last, version, log)

    edits: dict[Path, str] = {}
    about = package.folder / workspace.project(package.folder)["tool"]["hatch"]["version"]["path"]
    line = re.compile(r'^__version__ = ".+"$', re.MULTILINE)
    if version != now:
        edits[about] = line.sub(f'__version__ = "{version}"', about.read_text(encoding="utf-8"))
    edits[log.path] = log.released(str(version), date).text
    followed = {}
    left = excluding(package, version)
    for dependent in [*left, *(beyond(package, last) if last and not left else [])]:
        change = moved if dependent in left else raised
        text, requirement = rewritten(dependent, package, version, change)
        edits[dependent.folder / "pyproject.toml"] = text
        section = "Breaking" if left and breaks_with(dependent, asked) else "Changed"
        their_log = Changelog.of(dependent).needing(requirement, section)
        edits[their_log.path] = their_log.text
        followed[dependent.short_name] = requirement
    return Bump(package, version, edits, followed)


def _refuse_version(package: Package, part: str, last: Version | None, version: Version) -> None:
    if part == "first" and last is not None:
        raise Refused(
            f"{package.name} was released before: {tag_name(package, last)}.",
            "Bump it by patch, minor or major.",
        )
    if last is not None and version <= last:
        raise Refused(
            f"{package.name} would become {version}, which is not above its last tag "
            f"{tag_name(package, last)}.",
            f"{package.folder.name}'s __about__.py says {package.version}: set it to {last} first.",
        )
    if tag_exists(tag := tag_name(package, version)):
        raise Refused(
            f"The tag {tag} already exists, on another branch.",
            "Bump from that branch, or by a larger part.",
        )


def _refuse_step(asked: Demand, last: Version, version: Version, log: Changelog) -> None:
    name = asked.package.name
    if asked.step > allowed(last, version):
        part = part_for(last, asked.step)
        mend = f"Bump it by {part} ({last} -> {bumped(last, part)})"
        if asked.broken:
            raise Refused(
                f"{name} {version} may not break what {tag_name(asked.package, last)} offered:",
                *(f"{d.name} {d.what}  ({d.place})" for d in asked.broken),
                f"{mend}, or let what was written for {last} keep working.",
                f"If no code can notice, say so in {log.where} under '### Compatible'.",
            )
        if asked.new and asked.told < asked.step:
            raise Refused(
                f"{name} {version} may not add anything to {tag_name(asked.package, last)}:",
                *(f"{d.name} {d.what}  ({d.place})" for d in asked.new),
                f"{mend}.",
            )
        told = next(s for s in log.sections() if SECTIONS[s] is asked.told)
        raise Refused(f"{log.where} has entries under '### {told}'.", f"{mend}.")
    if asked.broken and asked.told < Step.BREAK:
        raise Refused(
            f"{log.where} does not say what {name} {version} breaks:",
            *(f"{d.name} {d.what}  ({d.place})" for d in asked.broken),
            "Say under '### Breaking' what users have to change, and commit that.",
        )
