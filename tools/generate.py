"""Writes the parts of the repository's files that follow from other files.

    python tools/generate.py                 writes them anew; a test says when one is out of date
    python tools/generate.py figures.json    takes over results of `tools/bench --json` first

Such a part begins with `<!-- KIND, a remark -->` or `<!-- KIND: ARGUMENT -->`, and ends with
`<!-- end -->`. The project files give the table of packages in README.md, how to install and to pin
each package in its own README, and the version in CITATION.cff. `differences` gives
docs/differences.md, and `website.benchmarks` docs/benchmarks.md with its picture.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import differences
from website import benchmarks
from workspace import ROOT, Package, find, packages, project, range_from, with_siblings

PART = re.compile(r"(<!-- (\w+)(?:: ([^\n]*)|, [^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    """What the files should hold."""
    results = benchmarks.results()
    citation = ROOT / "CITATION.cff"
    version = re.compile(r"^version: \S+", re.MULTILINE)
    return {
        ROOT / "README.md": filled(ROOT / "README.md", lambda *_: _table()),
        differences.PAGE: filled(differences.PAGE, differences.written),
        benchmarks.PAGE: filled(benchmarks.PAGE, lambda *_: benchmarks.tables(results)),
        benchmarks.PICTURE: benchmarks.svg(results["cases"]),
        citation: version.sub(f"version: {find('linnet').version}", citation.read_text("utf-8")),
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
    return filled(package.folder / "README.md", lambda *_: _install(package))


def _install(package: Package) -> str:
    python = project(package.folder)["project"]["requires-python"]
    needs = [f"Python{python}", *package.third_party.values(), *package.siblings]
    extras = [
        f"`{package.name}[{extra}]` brings {', '.join(f'`{name}`' for name in requirements)}"
        for extra, requirements in package.extras.items()
    ]
    first, then = ("minor", "a patch") if package.version.startswith("0.") else ("major", "another")
    rows = {
        "needs": re.sub(r"([\w-]+)>=([^,]+)", r"\1 ≥ \2", ", ".join(needs)) + "; nothing else",
        "extras": "; ".join(extras),
        "pin": f"`{package.name}{range_from(package.version)}`, as a new {first} version may break "
        f"something and {then} does not",
        "changes": "the package's CHANGELOG.md",
    }
    command, note = package.name, ""
    changelog = (package.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(r"^## \d", changelog, re.MULTILINE):  # it was never released
        command = " ".join(f"./packages/{p.short_name}" for p in with_siblings([package]))
        note = "\nThat is in a clone of the repository: Linnet is not on PyPI yet.\n"
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items() if text)
    return f"```\npython -m pip install {command}\n```\n{note}\n| | |\n|---|---|\n{table}\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        benchmarks.take_over(Path(name))
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
