"""The programs, and the settings in their headers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "programs"
HEAD = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)
KEYS = {"library", "tests", "deselect", "tests-need", "tolerance", "reason"}


@dataclass(frozen=True)
class Program:
    """A script that uses one library.

    Attributes:
      path: the script.
      what: the first line of its docstring.
      python: the Python versions that it runs on.
      needs: requirements, including Flax.
      distribution: the distribution whose use it shows.
      tests: files of the library's source distribution, run by pytest.
      deselect: parts of them that are left out, in pytest's notation.
      tests_need: their requirements besides `needs`.
      tolerance: relative to the largest number of an array; 0 asks for the same bits.
      reason: why the tolerance isn't 0.
    """

    path: Path
    what: str
    python: str
    needs: Sequence[str]
    distribution: str
    tests: Sequence[str]
    deselect: Sequence[str]
    tests_need: Sequence[str]
    tolerance: float
    reason: str

    @property
    def name(self) -> str:
        """The script's name without its suffix."""
        return self.path.stem


def programs() -> list[Program]:
    """All programs, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.py")) if "# /// script" in _text(path)]


def read(path: Path) -> Program:
    """A program, from its header.

    Raises:
      ValueError: the header is missing, lacks a pin, or has an unknown key.
    """
    text = _text(path)
    found = HEAD.search(text)
    if not found:
        raise ValueError(f"{path.name} has no header `# /// script` (PEP 723)")
    head = tomllib.loads(re.sub(r"^# ?", "", found.group(1), flags=re.MULTILINE))
    settings = head["tool"]["linnet"]
    if unknown := set(settings) - KEYS:
        raise ValueError(
            f"{path.name}: [tool.linnet] has {sorted(unknown)}, expected {sorted(KEYS)}"
        )
    if loose := [need for need in head["dependencies"] if "==" not in need]:
        raise ValueError(f"{path.name}: pin {loose} with ==")
    if bool(settings.get("tolerance")) != bool(settings.get("reason")):
        raise ValueError(f"{path.name}: a tolerance needs a reason, and a reason a tolerance")
    what = re.search(r'^"""(.+?)(?:"""|$)', text, re.MULTILINE)
    if not what:
        raise ValueError(f"{path.name} has no docstring")
    return Program(
        path,
        what.group(1),
        head["requires-python"],
        head["dependencies"],
        settings["library"],
        settings.get("tests", []),
        settings.get("deselect", []),
        settings.get("tests-need", []),
        settings.get("tolerance", 0.0),
        settings.get("reason", ""),
    )


def _text(path: Path) -> str:
    return path.read_text("utf-8")
