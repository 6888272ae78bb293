"""The packages and their requirements, in dependency order, read from their pyproject.toml.

This is the only list of packages: noxfile.py, the workflows in .github and the documents use it, so
a new package needs a folder and nothing else. It uses only the standard library:

    python tools/workspace.py               a table for people
    python tools/workspace.py --paths flax  folders of a package and of those that it needs, for pip
    python tools/workspace.py --packages    the folders' names, as JSON for workflows
    python tools/workspace.py --matrix      each pair of jax and Python, as JSON for workflows
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys

if sys.version_info < (3, 11):  # noqa: UP036  (before an import that it doesn't have)
    sys.exit(
        "Linnet needs Python 3.11 or newer, and this is {}.{}. Run it with a newer one, such as "
        "python3.11.".format(*sys.version_info)
    )

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
      name: the distribution's name, such as `linnet-layers-linear`.
      folder: its absolute path; the folder's name is the package's short name.
      description: one sentence.
      import_names: the packages it installs, such as `linnet.layers_linear`; a facade has several.
      version: from the package's `__about__.py`.
      siblings: requirements for packages of this repository, as declared, by distribution name.
      third_party: all other requirements, as declared, by distribution name.
      extras: optional requirements by extra, then by distribution name.
      tests_need: requirements of its own tests, in addition to those of all tests.
    """

    name: str
    folder: Path
    description: str
    import_names: tuple[str, ...]
    version: str
    siblings: Mapping[str, str]
    third_party: Mapping[str, str]
    extras: Mapping[str, Mapping[str, str]]
    tests_need: tuple[str, ...]

    @property
    def short_name(self) -> str:
        """The folder's name: `layers-linear`."""
        return self.folder.name

    @property
    def source(self) -> Path:
        """The folder to add to the path."""
        return self.folder / "src"

    @property
    def foreign_extras(self) -> list[str]:
        """The extras that require no package of this repository."""
        names = {p.name for p in packages()}
        return [extra for extra, needs in self.extras.items() if names.isdisjoint(needs)]

    @property
    def modules(self) -> list[Path]:
        """All Python files that the package installs."""
        return sorted(self.source.rglob("*.py"))


@cache
def packages() -> tuple[Package, ...]:
    """All packages, each after those that it requires, otherwise by name."""
    folders = sorted(p.parent for p in ROOT.glob("packages/*/pyproject.toml"))
    projects = {folder: project(folder) for folder in folders}
    names = {normalized(p["project"]["name"]) for p in projects.values()}
    found = {p.name: p for p in (_package(f, s, names) for f, s in projects.items())}
    order = TopologicalSorter({p.name: sorted(p.siblings) for p in found.values()})
    return tuple(found[name] for name in order.static_order())


def find(name: str) -> Package:
    """The package with the given distribution name or folder name.

    Raises:
      LookupError: it does not exist; the message lists the packages.
    """
    for package in packages():
        if name in (package.name, package.short_name):
            return package
    known = ", ".join(p.short_name for p in packages())
    raise LookupError(f"no package is called {name!r}; available: {known}")


def with_siblings(chosen: Iterable[Package]) -> list[Package]:
    """The chosen packages and those that they require, in order."""
    wanted: set[str] = set()
    queue = [p.name for p in chosen]
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue.extend(find(name).siblings)
    return [p for p in packages() if p.name in wanted]


def dependents(package: Package) -> list[Package]:
    """The packages that require this one, directly or indirectly, in order."""
    return [p for p in packages() if p != package and package in with_siblings([p])]


def supported_jax() -> list[str]:
    """The jax versions that are tested, oldest first."""
    return list(project()["tool"]["linnet"]["jax"])


def supported_python() -> list[str]:
    """The Python versions that are tested, oldest first."""
    return list(project()["tool"]["linnet"]["python"])


def runs_on(jax: str, python: str) -> bool:
    """Whether a jax version has wheels for a Python version."""
    first = project()["tool"]["linnet"]["first_jax"].get(python)
    versions = supported_jax()
    return first is None or versions.index(jax) >= versions.index(first)


def oldest_requirements(chosen: Iterable[Package]) -> list[str]:
    """The requirements that are tested at their lower bounds, pinned to those bounds."""
    names = project()["tool"]["linnet"]["oldest"]
    found = {name: p.third_party[name] for p in chosen for name in names if name in p.third_party}
    return [requirement.replace(">=", "==") for requirement in found.values()]


def typed_tools() -> list[Path]:
    """The files in tools/ that mypy checks."""
    patterns = project()["tool"]["linnet"]["typed"]
    return sorted({path for pattern in patterns for path in (ROOT / "tools").glob(pattern)})


def project(folder: Path = ROOT) -> dict[str, Any]:
    """The contents of a folder's pyproject.toml."""
    with (folder / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def matrix() -> dict[str, list[dict[str, str]]]:
    """The jobs of the workflow: each jax on each Python for which it has wheels."""
    pairs = itertools.product(supported_python(), supported_jax())
    return {
        "include": [{"python": p, "jax": jax} for p, jax in pairs if runs_on(jax, p)],
    }


def normalized(name: str) -> str:
    """A distribution's name, normalized as PEP 503 prescribes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def next_breaking(version: str) -> str:
    """The next version that may be incompatible: 0.3.0 after 0.2.1, 2.0.0 after 1.4.0."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f"0.{minor + 1}.0" if major == 0 else f"{major + 1}.0.0"


def range_from(version: str) -> str:
    """The range from the first version compatible with `version` to the next incompatible one."""
    first, end = version.split("."), next_breaking(version).split(".")
    return f">={_short(first)},<{_short(end)}"


def requirement_name(requirement: str) -> str:
    """The distribution that a requirement is for."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    if match is None:
        raise ValueError(f"{requirement!r} is not a requirement: it does not begin with a name.")
    return normalized(match[0])


def _package(folder: Path, settings: dict[str, Any], names: set[str]) -> Package:
    table = settings["project"]
    required = {requirement_name(r): r for r in table.get("dependencies", [])}
    about = folder / settings["tool"]["hatch"]["version"]["path"]
    version = re.search(r'^__version__ = "(.+)"$', about.read_text(encoding="utf-8"), re.MULTILINE)
    if version is None:
        raise ValueError(f'{about} has no line __version__ = "...".')
    return Package(
        name=normalized(table["name"]),
        folder=folder,
        description=table["description"],
        import_names=tuple(f"linnet.{p.parent.name}" for p in sorted(folder.glob(_PY_TYPED))),
        version=version[1],
        siblings={n: r for n, r in required.items() if n in names},
        third_party={n: r for n, r in required.items() if n not in names},
        extras={
            extra: {requirement_name(r): r for r in requirements}
            for extra, requirements in table.get("optional-dependencies", {}).items()
        },
        tests_need=tuple(settings.get("dependency-groups", {}).get("tests", [])),
    )


def _short(version: Sequence[str]) -> str:
    return ".".join(version[:2] if version[0] == "0" else version[:1])


_PY_TYPED = "src/linnet/*/py.typed"


def _table() -> str:
    rows = [("package", "version", "needs", "extras")]
    rows += [
        (
            p.name,
            p.version,
            ", ".join([*(find(s).short_name for s in p.siblings), *p.third_party]),
            ", ".join(p.extras),
        )
        for p in packages()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, [*widths, 0], strict=True)) for r in rows]
    return "\n".join(line.rstrip() for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table, or the requested list."""
    parser = argparse.ArgumentParser(description="The packages of this repository.")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--packages", action="store_true", help="their names alone, as JSON")
    output.add_argument("--matrix", action="store_true", help="the workflow's jobs, as JSON")
    output.add_argument(
        "--paths",
        nargs="+",
        metavar="PACKAGE",
        help="their folders and those of the packages that they need",
    )
    options = parser.parse_args(arguments)
    if options.paths:
        for package in with_siblings([find(name) for name in options.paths]):
            print(f"./{package.folder.relative_to(ROOT).as_posix()}")
    elif options.matrix:
        print(json.dumps(matrix()))
    elif options.packages:
        print(json.dumps([p.short_name for p in packages()]))
    else:
        print(_table())


if __name__ == "__main__":
    main()
