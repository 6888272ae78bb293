"""Writes the generated parts of the repository's files.

    python tools/generate.py                 updates them; a test fails if one is out of date
    python tools/generate.py figures.json    first reads the results of `tools/bench --json`

A generated part begins with `<!-- KIND, a remark -->` or `<!-- KIND: ARGUMENT -->`, and ends with
`<!-- end -->`. The table of packages in README.md, the commands that install and pin a package in
its own README, and the version in CITATION.cff come from the pyproject.toml files; the table of
layers in a package's README comes from their names and the first lines of their docstrings.
`differences` writes docs/differences.md, `website.benchmarks` writes docs/benchmarks.md and its
pictures, and `notebooks` writes docs/notebooks.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import differences
import notebooks
from website import benchmarks
from workspace import ROOT, Package, find, packages, project, range_from

PART = re.compile(r"(<!-- (\w+)(?:: ([^\n]*)|, [^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    """The files and their expected contents."""
    results = benchmarks.results()
    citation = ROOT / "CITATION.cff"
    version = re.compile(r"^version: \S+", re.MULTILINE)
    return {
        ROOT / "README.md": filled(ROOT / "README.md", lambda *_: _table()),
        differences.PAGE: filled(differences.PAGE, differences.written),
        benchmarks.PAGE: filled(benchmarks.PAGE, lambda *_: benchmarks.tables(results)),
        benchmarks.PICTURE: benchmarks.svg(results["cases"]),
        benchmarks.FIRST_STEP: benchmarks.first_step_svg(results["cases"]),
        citation: version.sub(f"version: {find('linnet').version}", citation.read_text("utf-8")),
        **notebooks.notebooks(),
        **{p.folder / "README.md": _package_readme(p) for p in packages()},
    }


def filled(path: Path, written: Callable[[str, str], str]) -> str:
    """A file's text with each part as `written(kind, argument)` gives it.

    Raises:
      ValueError: the file has no such part.
    """
    text, count = PART.subn(
        lambda m: f"{m[1]}\n{written(m[2], m[3] or '')}\n{m[4]}", path.read_text(encoding="utf-8")
    )
    if not count:
        raise ValueError(f"{path} has no '<!-- KIND, ... -->' and '<!-- end -->' to write between.")
    return text


def _table() -> str:
    lines = ["| install | import | what it holds |", "|---|---|---|"]
    for package in packages():
        folder = package.folder.relative_to(ROOT).as_posix()
        names = ", ".join(f"`{name}`" for name in package.import_names)
        lines.append(f"| [{package.name}]({folder}) | {names} | {package.description} |")
    return "\n".join(lines) + "\n"


def _package_readme(package: Package) -> str:
    parts = {"install": _install, "layers": layers}
    return filled(package.folder / "README.md", lambda kind, _: parts[kind](package))


def layers(package: Package) -> str:
    """The table of a package's layers, with a row for each file of `functional`, `linen` and `nnx`.

    A row has the modules and functions that the folders' `__init__.py` re-export from these
    files, and the first line of the first file's docstring. Classes of `functional` are included
    if `linen` re-exports them, since users create them as arguments; the others are results.
    """
    (source,) = (package.folder / "src" / "linnet").iterdir()
    arguments = _public_names(source / "linen", level=2).get("functional", [])
    styles = [_public_names(source / style) for style in ("linen", "nnx", "functional")]
    lines = ["| linen | nnx | functional | what it is |", "|---|---|---|---|"]
    for file in sorted(set().union(*styles)):
        linen, nnx, functions = (style.get(file, []) for style in styles)
        names = [
            [name for name in linen if name not in functions],
            [name for name in nnx if name not in functions],
            [name for name in functions if name.islower() or name in arguments],
        ]
        if any(names):
            cells = [", ".join(f"`{name}`" for name in cell) for cell in names]
            lines.append(f"| {' | '.join([*cells, _description(source, file)])} |")
    return "\n".join(re.sub(r"\|  (?=\|)", "| ", line) for line in lines) + "\n"


def _public_names(folder: Path, level: int = 1) -> dict[str, list[str]]:
    """The names that `folder/__init__.py` imports from each public file, `level - 1` folders up."""
    names: dict[str, list[str]] = {}
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or node.level != level or node.module is None:
            continue
        if not node.module.startswith("_"):
            names.setdefault(node.module, []).extend(alias.name for alias in node.names)
    return names


def _description(source: Path, file: str) -> str:
    """The first line of the docstring of a family's first file, with its paper as a link."""
    paths = [source / style / f"{file}.py" for style in ("functional", "linen", "nnx")]
    (path, *_) = (path for path in paths if path.exists())
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = re.sub(r"^(?:`\w+`(?: and |, |: ))+|, as (?:a module|modules)", "", text.split("\n")[0])
    for cited, site in (
        ("arXiv:", "arxiv.org/abs/"),
        ("doi:", "doi.org/"),
        ("jmlr.org/", "jmlr.org/"),
    ):
        line = re.sub(rf"([^(; ][^(;]*), {cited}([^\s),;]+)", rf"[\1](https://{site}\2)", line)
    return (line[0].upper() + line[1:]).removesuffix(".")


def _install(package: Package) -> str:
    python = project(package.folder)["project"]["requires-python"]
    needs = [f"Python{python}", *package.third_party.values(), *package.siblings]
    extras = [
        f"`{package.name}[{extra}]` adds {', '.join(f'`{name}`' for name in requirements)}"
        for extra, requirements in package.extras.items()
    ]
    first, then = ("minor", "a patch") if package.version.startswith("0.") else ("major", "another")
    rows = {
        "needs": re.sub(r"([\w-]+)>=([^,]+)", r"\1 ≥ \2", ", ".join(needs)) + "; nothing else",
        "extras": "; ".join(extras),
        "pin": f"`{package.name}{range_from(package.version)}`, since a new {first} version may "
        f"break something and {then} version does not",
        "changes": "the package's CHANGELOG.md",
    }
    command, note = package.name, ""
    changelog = (package.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(r"^## \d", changelog, re.MULTILINE):  # never released
        command = f"$(python tools/workspace.py --paths {package.short_name})"
        note = "\nRun this in a clone of the repository: Linnet is not on PyPI yet.\n"
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items() if text)
    return f"```\npython -m pip install {command}\n```\n{note}\n| | |\n|---|---|\n{table}\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        benchmarks.take_over(Path(name))
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
