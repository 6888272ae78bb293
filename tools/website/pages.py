"""The pages of the site that no one writes: the API, the programs, the changelogs.

Each is Markdown, by the path that it would have in docs/. Names are not listed by hand anywhere:
packages come from tools/workspace.py, names from `api`, programs from docs/examples.
"""

from __future__ import annotations

import ast
import posixpath
import re
from itertools import groupby
from pathlib import Path

import workspace
from website import api as site_api
from website.api import Entry, Part
from workspace import ROOT, Package

EXAMPLES = ROOT / "docs" / "examples"


def pages() -> dict[str, str]:
    """All generated pages by path."""
    found = {"api/index.md": _api_index(), "changelogs.md": _changelogs()}
    for package in workspace.packages():
        found |= _package_pages(package)
    found |= {f"examples/{p.stem}.md": _program(p) for p in programs()}
    found |= {
        f"maintaining/{name.lower()}.md": (ROOT / f"{name}.md").read_text(encoding="utf-8")
        for name in ("CONTRIBUTING", "SECURITY")
        if (ROOT / f"{name}.md").exists()
    }
    return found


def package_page(package: Package) -> str:
    """The path of the page of a package; if there are more below it, it is their index."""
    name = package.short_name.replace("-", "_")
    (part, *others) = (site_api.api().parts[name] for name in package.import_names)
    return f"api/{name}/index.md" if not others and site_api.large(part) else f"api/{name}.md"


def part_page(part: Part) -> str:
    """The path of the page of a part that has its own."""
    return f"api/{part.path.removeprefix('linnet.').replace('.', '/')}.md"


def _between(page: str, other: str) -> str:
    """The link from one page to another."""
    return posixpath.relpath(other, posixpath.dirname(page))


# API.


def _api_index() -> str:
    lines = [
        "# API",
        "",
        "A page for each package, written from the docstrings of its sources. A name stands where"
        " it is defined; `linnet.linen` and `linnet.nnx` give all of them under one name each.",
        "",
        "| package | import | what it holds |",
        "|---|---|---|",
    ]
    for package in reversed(workspace.packages()):
        names = ", ".join(f"`{name}`" for name in package.import_names)
        page = package_page(package).removeprefix("api/")
        lines.append(f"| [{package.name}]({page}) | {names} | {package.description} |")
    return "\n".join(lines) + "\n"


def _package_pages(package: Package) -> dict[str, str]:
    """The page of a package, and those of its parts where it is large."""
    parts = [site_api.api().parts[name] for name in package.import_names]
    names = ", ".join(f"`import {part.path}`" for part in parts)
    folder = package.folder.relative_to(ROOT).as_posix()
    changes = _between(package_page(package), "changelogs.md")
    head = (
        f"# {package.name}\n\n{package.description}\n\n"
        f"{names} · version {package.version} · [changelog]({changes}#{package.name}) ·"
        f" sources in `{folder}`\n"
    )
    if site_api.is_facade(package):
        text = "\n".join([head, *(_facade(part) for part in parts)])
        return {package_page(package): text}
    (part,) = parts
    if not site_api.large(part):
        return {package_page(package): "\n".join([head, *_part(part, 2, titled=False)])}
    lines = [head, _prose(part.doc), "", "| module | what it holds |", "|---|---|"]
    found: dict[str, str] = {}
    for child in part.parts:
        page = part_page(child)
        link = _between(package_page(package), page)
        lines.append(f"| [`{child.path}`]({link}) | {_first(child.doc)} |")
        found[page] = f"# {child.path}\n\n" + "\n".join(_part(child, 2, titled=False))
    if part.entries:  # what only a facade makes public, in modules that are no part
        lines += ["", *_part(Part(part.path, part.entries, []), 2, titled=False)[2:]]
    return {package_page(package): "\n".join(lines) + "\n", **found}


def _part(part: Part, level: int, *, titled: bool = True) -> list[str]:
    """A module: its docstring, its names by the file that defines them, and its parts."""
    lines = [f"{'#' * level} `{part.path}`", ""] if titled else []
    lines += [_prose(part.doc), ""]
    level += titled
    files = [entry.file for entry in part.entries]
    ordered = sorted(part.entries, key=lambda e: files.index(e.file))
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
            lines += _entry(entry, inside)
    for child in part.parts:
        lines += _part(child, level)
    return lines


def _entry(entry: Entry, level: int) -> list[str]:
    others = site_api.api().others.get(entry.home, [])
    anchors = "".join(f"[](){{#{path}}}" for path in [entry.path, *others] if path != entry.home)
    lines = [anchors, ""] if anchors else []
    lines += [f"::: {entry.home}", "    options:", f"      heading_level: {level}"]
    if inherited := sorted(site_api.inherited(entry.home)):
        lines += [f"      inherited_members: [{', '.join(inherited)}]"]
    lines += [""]
    if others:
        lines += ["Also: " + ", ".join(f"`{path}`" for path in others) + ".", ""]
    return lines


def _title(doc: str) -> str:
    """What a docstring's first sentence is about: up to where it goes into detail."""
    return re.split(r" \(|[:;.](?:\s|$)", doc.split("\n\n")[0], maxsplit=1)[0].replace("\n", " ")


def _facade(part: Part) -> str:
    """A list of names, by the package that each comes from, and of namespaces."""
    lines = [f"## {part.path}", "", _prose(part.doc), ""]
    names = [n for p in workspace.packages() for n in p.import_names if n != part.path]

    def source(entry: Entry) -> str:
        of = next((n for n in names if entry.home.startswith(f"{n}.")), "")
        return of or entry.home.split(".")[0]

    for origin, group in groupby(sorted(part.entries, key=source), key=source):
        entries = sorted(group, key=lambda e: e.name.lower())
        lines += [f"### From {origin}", ""]
        if any(site_api.summary(e.home) for e in entries):
            lines += ["| name | what it is |", "|---|---|"]
            lines += [f"| {_reference(e)} | {_cell(site_api.summary(e.home))} |" for e in entries]
        else:  # jax's own
            lines.append(", ".join(_reference(e) for e in entries) + ".")
        lines.append("")
    spaces = list(dict.fromkeys(p.path for p in part.walk() if p.path != part.path and p.entries))
    by_path = {p.path: p for p in part.walk()}
    lines += ["### Namespaces", "", "| module | names |", "|---|---|"]
    for path in spaces:
        held = ", ".join(_reference(e) for e in by_path[path].entries)
        lines.append(f"| `{path}` | {held} |")
    return "\n".join(lines) + "\n"


def _reference(entry: Entry) -> str:
    """A name that leads to where it is described; one of jax's says so."""
    if entry.home in site_api.api().paths:
        return f"[`{entry.name}`][{entry.home}]"
    return f"`{entry.name}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _first(doc: str) -> str:
    return _cell(doc.split("\n\n")[0].replace("\n", " "))


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
    """The programs of docs/examples that are there to be run."""
    return sorted(p for p in EXAMPLES.glob("*.py") if "__main__" in p.read_text(encoding="utf-8"))


def _program(path: Path) -> str:
    """A program's page: what it says of itself, and its source."""
    text = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text)) or ""
    return f"# {path.stem}.py\n\n{_prose(doc)}\n\n## Source\n\n```py\n{text.rstrip()}\n```\n"


# Changelogs.


def _changelogs() -> str:
    """The changelogs of all packages on one page."""
    lines = ["# Changelogs", "", "Each package has a version of its own.", ""]
    for package in workspace.packages():
        text = (package.folder / "CHANGELOG.md").read_text(encoding="utf-8")
        lines += [f"## {package.name} {{ #{package.name} }}", ""]
        lines += [re.sub(r"^#+ Changelog.*\n+", "", _deeper(text)).strip(), ""]
    return "\n".join(lines)


def _deeper(text: str) -> str:
    """A page as a section of another: its headings one level lower."""
    return re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
