"""The generated pages of the site: the API, the programs, the changelogs.

Each is Markdown, by the path that it would have in docs/. Packages come from tools/workspace.py,
names from `api`, programs from docs/examples. The names that users of `linnet.linen` and
`linnet.nnx` write are described on pages in docs/api (`website.reference`); a package's own page
has the rest.
"""

from __future__ import annotations

import ast
import posixpath
import re
from itertools import groupby
from pathlib import Path

import workspace
from website import api as site_api
from website import reference
from website.api import Entry, Part
from workspace import ROOT, Package

# In searches, guides and the pages in docs/api come first.
LOWER = "---\nsearch: {boost: 0.2}\n---\n\n"
# A program's lines are up to 100 characters long and take the space of the table of contents.
WIDE = LOWER.replace("---\n\n", "hide: [toc]\n---\n\n")
EXAMPLES = ROOT / "docs" / "examples"


def pages() -> dict[str, str]:
    """All generated pages by path."""
    found = {"api/packages/index.md": _packages(), "changelogs.md": _changelogs()}
    found |= {package_page(package): _package(package) for package in workspace.packages()}
    found |= {f"examples/{p.stem}.md": _program(p) for p in programs()}
    found |= {
        f"maintaining/{name.lower()}.md": (ROOT / f"{name}.md").read_text(encoding="utf-8")
        for name in ("CONTRIBUTING", "SECURITY")
        if (ROOT / f"{name}.md").exists()
    }
    return found


def package_page(package: Package) -> str:
    """The path of the page of a package."""
    return f"api/packages/{package.short_name.replace('-', '_')}.md"


# API.


def _packages() -> str:
    lines = [
        "# Packages",
        "",
        "What each package offers alone: functions of arrays, and names that only packages use.",
        "",
        "| package | import | what it holds |",
        "|---|---|---|",
    ]
    for package in reversed(workspace.packages()):
        names = ", ".join(f"`{name}`" for name in package.import_names)
        page = posixpath.basename(package_page(package))
        lines.append(f"| [{package.name}]({page}) | {names} | {package.description} |")
    return "\n".join(lines) + "\n"


def _package(package: Package) -> str:
    """The page of a package: names that no page in docs/api describes, and links to the others."""
    parts = [site_api.api().parts[name] for name in package.import_names]
    names = ", ".join(f"`import {part.path}`" for part in parts)
    folder = package.folder.relative_to(ROOT).as_posix()
    head = (
        f"# {package.name}\n\n{package.description}\n\n"
        f"{names} · version {package.version} · [changelog](../../changelogs.md#{package.name}) ·"
        f" sources in `{folder}`\n"
    )
    if site_api.is_facade(package):
        return f"---\nsearch: {{exclude: true}}\n---\n\n{head}\n{_facade(parts)}"
    return "\n".join([f"{LOWER}{head}", *_part(parts[0], 2, titled=False)])


def _part(part: Part, level: int, *, titled: bool = True) -> list[str]:
    """A module: its docstring, its names by the file that defines them, and its parts."""
    lines = [f"{'#' * level} `{part.path}`", ""] if titled else []
    lines += [_prose(part.doc), ""]
    level += titled
    elsewhere = [_reference(e) for e in part.entries if e.home in reference.described()]
    if elsewhere:
        lines += [f"Described on separate pages: {', '.join(elsewhere)}.", ""]
    here = [entry for entry in part.entries if entry.home not in reference.described()]
    files = [entry.file for entry in here]
    ordered = sorted(here, key=lambda e: files.index(e.file))
    for file, group in groupby(ordered, key=lambda e: e.file):
        entries = list(group)
        inside = level
        doc = "" if file == part.path or "._" in file else site_api.docstring(file)
        functional = part.path.endswith(".functional")  # files that begin with an equation
        if doc and (len(entries) > 1 or (functional and "\n\n" in doc)):
            lines += [f"{'#' * level} {_title(doc)}", ""]
            lines += [_prose(doc if functional else doc.split("\n\n")[0]), ""]
            inside += 1
        for entry in entries:
            others = site_api.api().others.get(entry.home, [])
            heading = entry.path.removeprefix("linnet.")
            lines += reference.entry(entry.home, heading, inside, [entry.path, *others])
    for child in part.parts:
        lines += _part(child, level)
    return lines


def _title(doc: str) -> str:
    """The topic of a docstring's first sentence: the part before any details."""
    return re.split(r" \(|[:;.](?:\s|$)", doc.split("\n\n")[0], maxsplit=1)[0].replace("\n", " ")


def _facade(parts: list[Part]) -> str:
    """The names of each module, with links to their descriptions."""
    by_path = {part.path: part for of in parts for part in of.walk() if part.entries}
    lines = ["| module | names |", "|---|---|"]
    for path, part in by_path.items():
        lines.append(f"| `{path}` | {', '.join(_reference(e) for e in part.entries)} |")
    return "\n".join(lines) + "\n"


def _reference(entry: Entry) -> str:
    """A name, with a link to its description if the site has one."""
    if entry.home in site_api.api().paths:
        return f"[`{entry.name}`][{entry.home}]"
    return f"`{entry.name}`"


def _prose(doc: str) -> str:
    """A module's docstring as Markdown: examples are code."""
    return re.sub(
        r"^>>> .*?(?=\n\n|\Z)",
        lambda m: f"```pycon\n{m[0]}\n```",
        doc,
        flags=re.MULTILINE | re.DOTALL,
    )


# Programs.


def programs() -> list[Path]:
    """The programs of docs/examples that users run."""
    return sorted(p for p in EXAMPLES.glob("*.py") if "__main__" in p.read_text(encoding="utf-8"))


def _program(path: Path) -> str:
    """A program's page: its docstring, and its source."""
    text = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text)) or ""
    return f"{WIDE}# {path.stem}.py\n\n{_prose(doc)}\n\n## Source\n\n```py\n{text.rstrip()}\n```\n"


# Changelogs.


def _changelogs() -> str:
    """The changelogs of all packages on one page."""
    lines = ["# Changelogs", "", "Each package has its own version.", ""]
    for package in workspace.packages():
        text = (package.folder / "CHANGELOG.md").read_text(encoding="utf-8")
        lines += [f"## {package.name} {{ #{package.name} }}", ""]
        lines += [re.sub(r"^#+ Changelog.*\n+", "", _deeper(text)).strip(), ""]
    return "\n".join(lines)


def _deeper(text: str) -> str:
    """A page as a section of another: its headings one level lower."""
    return re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
