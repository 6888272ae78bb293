"""A package's CHANGELOG.md: its entries, and how a release changes it.

It has one form, which people and tools can read:

    # Changelog

    ## Unreleased

    ### Added

    - One line for a capability, which may continue in the next, indented line.

    ## 0.1.0 - 2026-11-21

The sections are those of `SECTIONS`, and each requires a minimum bump. `Compatible` is for a
change that the tools report as a break although it is not one: an entry begins with the name that
the tools print, and says why no program is affected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import workspace
from workspace import Package

from .refusal import Refused
from .versions import Step

UNRELEASED = "## Unreleased"
SECTIONS: Mapping[str, Step] = {
    "Breaking": Step.BREAK,
    "Added": Step.ADDITION,
    "Changed": Step.FIX,
    "Fixed": Step.FIX,
    "Compatible": Step.FIX,
}


@dataclass(frozen=True)
class Changelog:
    """The text of a changelog, and its path."""

    where: str
    text: str

    @classmethod
    def of(cls, package: Package) -> Changelog:
        """Reads the changelog in a package's folder."""
        path = package.folder / "CHANGELOG.md"
        where = path.relative_to(workspace.ROOT).as_posix()
        if not path.exists():
            raise Refused(f"{package.name} has no changelog.", f"Write {where}.")
        changelog = cls(where, path.read_text(encoding="utf-8"))
        changelog.sections()  # raises an error for any other form
        return changelog

    @property
    def path(self) -> Path:
        """The path of the file."""
        return workspace.ROOT / self.where

    def part(self, heading: str) -> str | None:
        """The text below `## heading`, or None; a version is found with any date."""
        pattern = rf"^## {re.escape(heading)}(?: - \d{{4}}-\d\d-\d\d)?$(.*?)(?=^## |\Z)"
        found = re.search(pattern, self.text, re.MULTILINE | re.DOTALL)
        return found[1].strip() if found else None

    def is_dated(self, version: str) -> bool:
        """Whether a part has that version and the date of its release."""
        pattern = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$"
        return re.search(pattern, self.text, re.MULTILINE) is not None

    def sections(self, heading: str = "Unreleased") -> dict[str, list[str]]:
        """The entries of a part, by section.

        Raises:
          Refused: the part does not exist, or does not have the form that the module describes.
        """
        body = self.part(heading)
        if body is None:
            raise Refused(
                f"{self.where} has no section '## {heading}'.",
                "Write one below the title, even if it is empty.",
            )
        found: dict[str, list[str]] = {}
        section = None
        for line in body.splitlines():
            if line.startswith("### ") and line[4:] in SECTIONS:
                section = line[4:]
                found.setdefault(section, [])
            elif line.startswith("- ") and section:
                found[section].append(line[2:])
            elif line.startswith("  ") and section and found[section]:
                found[section][-1] += f" {line.strip()}"
            elif line:
                raise Refused(
                    f"{self.where}: {line!r} is neither a section nor an entry of one.",
                    f"'## {heading}' has sections, '### ' and one of "
                    f"{', '.join(SECTIONS)}; in these, entries that begin with '- '.",
                )
        return {section: entries for section, entries in found.items() if entries}

    def asks_for(self, heading: str = "Unreleased") -> Step:
        """The smallest bump for the entries of a part."""
        return max((SECTIONS[s] for s in self.sections(heading)), default=Step.FIX)

    def compatible(self, heading: str = "Unreleased") -> set[str]:
        """The names of differences that a part calls compatible.

        Raises:
          Refused: an entry lacks a name or a reason.
        """
        names = set()
        for entry in self.sections(heading).get("Compatible", []):
            found = re.match(r"`([^`]+)`: \S", entry)
            if found is None:
                raise Refused(
                    f"{self.where}: under '### Compatible', {entry!r} names nothing.",
                    "An entry there is '- `name`: why no code can notice', with the name as "
                    "it is printed when the bump raises an error.",
                )
            names.add(found[1])
        return names

    def released(self, version: str, date: str) -> Changelog:
        """The changelog with the unreleased entries under that version and date."""
        heading = f"{UNRELEASED}\n\n## {version} - {date}"
        return Changelog(self.where, self.text.replace(UNRELEASED, heading, 1))

    def needing(self, requirement: str, section: str = "Changed") -> Changelog:
        """The changelog with one entry in a section for a sibling's new range."""
        name = workspace.requirement_name(requirement)
        before, after = self.text.split(UNRELEASED, 1)
        body, *older = re.split(r"^(?=## )", after, maxsplit=1, flags=re.MULTILINE)
        body = re.sub(rf"^- Needs `{re.escape(name)}[^-\w].*\n", "", body, flags=re.MULTILINE)
        heading = f"### {section}\n"
        sections = {
            block.split("\n", 1)[0].removeprefix("### "): block.strip("\n")
            for block in re.split(r"^(?=### )", body, flags=re.MULTILINE)
            if block.strip()
        }
        sections[section] = f"{sections.get(section, heading)}\n- Needs `{requirement}`."
        ordered = "\n\n".join(sections[s] for s in SECTIONS if s in sections)
        rest = f"\n{older[0]}" if older else ""
        return Changelog(self.where, f"{before}{UNRELEASED}\n\n{ordered}\n{rest}")
