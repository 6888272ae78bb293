"""Keeps in README.md and docs/images what follows from the packages' project files.

    python tools/readme.py    writes the table of packages and the picture anew

The tests check that both are up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

import picture
from workspace import ROOT, packages

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "packages.svg"


def generated() -> dict[Path, str]:
    """What the files should hold."""
    begin, end = "<!-- packages, written by tools/readme.py -->\n", "<!-- end -->\n"
    text = README.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md has no lines {begin!r} and {end!r} to write between.")
    return {
        README: pattern.sub(lambda _: f"{begin}\n{_table()}\n{end}", text),
        PICTURE: picture.svg(),
    }


def _table() -> str:
    lines = ["| install | import | what it holds |", "|---|---|---|"]
    for package in packages():
        folder = package.folder.relative_to(ROOT).as_posix()
        names = ", ".join(f"`{name}`" for name in package.import_names)
        lines.append(f"| [{package.name}]({folder}) | {names} | {package.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, content in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
