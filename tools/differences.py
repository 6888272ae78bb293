"""How Linnet differs from Flax, read from tools/parity/differences.toml.

The tests in tools/parity compare names and parameters with this list in both directions; the tests
that an entry on behavior names must exist. `generate` writes the page docs/differences.md from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from workspace import ROOT

DATA = ROOT / "tools" / "parity" / "differences.toml"
PAGE = ROOT / "docs" / "differences.md"


@dataclass(frozen=True)
class Names:
    """Names that differ in the same way.

    Attributes:
      where: the module of Flax, without `flax.`.
      names: the names in that module.
      difference: the difference in the parameters.
      reason: why.
    """

    where: str
    names: tuple[str, ...]
    difference: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Behavior:
    """A difference in behavior in a sentence or two, and the tests that check it.

    Attributes:
      section: the page's section.
      text: the text in Markdown.
      tests: as pytest names them.
      fuzz: `ARM: PATTERN`, by which tools/parity/fuzz recognizes it in the text of a finding.
    """

    section: str
    text: str
    tests: tuple[str, ...] = ()
    fuzz: tuple[str, ...] = ()


@cache
def data() -> dict[str, Any]:
    """The parsed file."""
    with DATA.open("rb") as file:
        return tomllib.load(file)


def listed(kind: str) -> list[Names]:
    """The groups of that kind, `parameters`, `omitted` or `own`, with one module each."""
    return [
        Names(**group | {"where": where, "names": tuple(group["names"])})
        for group in data()[kind]
        for where in ([group["where"]] if isinstance(group["where"], str) else group["where"])
    ]


def names(kind: str, *where: str) -> set[str]:
    """All names of that kind in one module, or several."""
    return {name for group in listed(kind) if group.where in where for name in group.names}


def behaviors() -> list[Behavior]:
    """All differences in behavior."""
    lists = ("tests", "fuzz")
    return [Behavior(**b | {n: tuple(b.get(n, ())) for n in lists}) for b in data()["behavior"]]


def written(kind: str, argument: str) -> str:
    """A part of the page: the bullets of a section, or a table of names in some modules."""
    if kind == "behavior":
        return "\n".join(_bullet(b) for b in behaviors() if b.section == argument) + "\n"
    wanted = argument.split(", ")
    groups = [g for g in listed(kind) if any(_below(g.where, module) for module in wanted)]
    if kind == "parameters":
        head = ["name", "difference", "reason"]
        rows = [[_codes(g.names), g.difference, g.reason] for g in groups]
        if not any(g.reason for g in groups):
            head, rows = head[:2], [row[:2] for row in rows]
    else:
        head = ["module of Flax", "names", "reason"]
        rows = [[f"`{g.where}`", _codes(g.names), g.reason] for g in groups]
    return _table(head, rows)


def _below(where: str, module: str) -> bool:
    return where == module or (module.endswith(".*") and where.startswith(module[:-1]))


def _bullet(behavior: Behavior) -> str:
    text = behavior.text.strip().replace("\n", "\n  ")
    if not behavior.tests:
        return f"- {text}"
    return f"- {text}\n  <small>{', '.join(map(_test, behavior.tests))}</small>"


def _test(name: str) -> str:
    """A test's name, short: `struct: test_bytes::test_typed_keys_survive`."""
    path, _, function = name.partition("::")
    folder, file = path.removesuffix(".py").rsplit("/", 1)
    package = "parity" if folder == "tools/parity" else folder.split("/")[1]
    return f"`{package}: {file}::{function}`"


def _codes(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"
