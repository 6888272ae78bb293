"""Keeps in each package's README what follows from its project file: how to install and to pin it.

    python tools/package_readmes.py    writes these parts anew, and the version in CITATION.cff

The tests check that they are up to date. A README is also the package's page on PyPI, where a link
to a file of this repository leads nowhere, so there are none.
"""

from __future__ import annotations

import re
from pathlib import Path

from workspace import ROOT, Package, find, packages, project, with_siblings

BEGIN, END = "<!-- install, written by tools/package_readmes.py -->\n", "<!-- end -->\n"


def generated() -> dict[Path, str]:
    """What the files should hold."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    found = {}
    for package in packages():
        path = package.folder / "README.md"
        text = path.read_text(encoding="utf-8")
        if not pattern.search(text):
            raise ValueError(f"{path} has no lines {BEGIN!r} and {END!r} to write between.")
        before, after = pattern.split(text)
        found[path] = f"{before}{BEGIN}\n{_install(package)}\n{END}{after}"
    citation = ROOT / "CITATION.cff"
    version = re.compile(r"^version: \S+", re.MULTILINE)
    found[citation] = version.sub(f"version: {find('linnet').version}", citation.read_text("utf-8"))
    return found


def _install(package: Package) -> str:
    extras = [
        f"`{package.name}[{extra}]` brings {', '.join(f'`{name}`' for name in requirements)}"
        for extra, requirements in package.extras.items()
    ]
    rows = {
        "needs": ", ".join(_needs(package)) + "; nothing else",
        "extras": "; ".join(extras),
        "pin": f"`{package.name}{_range(package)}`, as {_what_may_break(package)}",
        "changes": "the package's CHANGELOG.md",
    }
    if _is_released(package):
        command, note = package.name, ""
    else:
        command = " ".join(f"./packages/{p.short_name}" for p in with_siblings([package]))
        note = "\nThat is in a clone of the repository: Linnet is not on PyPI yet.\n"
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items() if text)
    return f"```\npython -m pip install {command}\n```\n{note}\n| | |\n|---|---|\n{table}\n"


def _needs(package: Package) -> list[str]:
    python = project(package.folder)["project"]["requires-python"]
    declared = [f"Python{python}", *package.third_party.values(), *package.siblings]
    return [re.sub(r"([\w-]+)>=(.+)", r"\1 ≥ \2", requirement) for requirement in declared]


def _range(package: Package) -> str:
    major, minor, *_ = package.version.split(".")
    return f">={major}.{minor},<{f'0.{int(minor) + 1}' if major == '0' else int(major) + 1}"


def _what_may_break(package: Package) -> str:
    first, then = ("minor", "a patch") if package.version.startswith("0.") else ("major", "another")
    return f"a new {first} version may break something and {then} does not"


def _is_released(package: Package) -> bool:
    """Whether its changelog has a version with a date."""
    text = (package.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.search(r"^## \d", text, re.MULTILINE) is not None


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
