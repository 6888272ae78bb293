"""Hints are tried: each remedy that an error of a package suggests is a program that runs.

A hint that does not work costs its reader more than none. So a package's tests have a table: a
mistake, words of the hint that it is answered with, and the program that follows the hint to the
letter. `hints_in` reads from the sources which hints they give (see `hint_sources`), and `untried`
tells which of them no row of a table covers, so that a new hint without a row fails a test.

A hint that asks ("Was the model initialized with a differently shaped input?") suggests a cause and
no program; it needs no row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hint_sources import Hint, hints_in

__all__ = ["Hint", "Remedy", "hints_in", "told", "try_remedy", "unknown", "untried"]


@dataclass(frozen=True)
class Remedy:
    """A mistake, and the program that its hint leads to.

    Attributes:
      words: of the hint, as in the source, with `{}` for what is filled in; long enough to tell it
        from others.
      mistake: raises the error.
      corrected: the same program, changed as the hint says.
      filled: what replaces the `{}`s in this error, where that matters.
    """

    words: str
    mistake: Callable[[], Any]
    corrected: Callable[[], Any]
    filled: tuple[str, ...] = ()

    def parts(self) -> list[str]:
        """The texts that the error must have."""
        words = self.words.replace("{{}}", "{}")
        for value in self.filled:
            words = words.replace("{}", value, 1)
        return [words] if self.filled else words.split("{}")


def told(error: BaseException) -> str:
    """Everything that is printed of an error, in one line."""
    text = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return " ".join(text.split())


def try_remedy(remedy: Remedy) -> None:
    """Makes the mistake, reads the hint, and follows it.

    Raises:
      AssertionError: there is no error, or another one.
    """
    try:
        result = remedy.mistake()
    except Exception as error:
        text = told(error)
        assert all(part in text for part in remedy.parts()), (
            f"the error has no hint {remedy.words!r}: {text}"
        )
    else:
        raise AssertionError(f"no error for {remedy.words!r}, but {result!r}")
    remedy.corrected()


def untried(
    hints: Iterable[Hint], remedies: Sequence[Remedy], explained: Sequence[str] = ()
) -> list[str]:
    """The hints that suggest something and that no remedy covers, a line each.

    Args:
      hints: from `hints_in`.
      remedies: the table.
      explained: words of hints that suggest no program, such as where to read more.
    """
    known = [*(remedy.words for remedy in remedies), *explained]
    return [
        f"{hint.where}: {hint.text}"
        for hint in hints
        if not _only_asks(hint.text) and not any(words in hint.text for words in known)
    ]


def unknown(hints: Sequence[Hint], words: Iterable[str]) -> list[str]:
    """Words of a table that are in no hint (any more)."""
    return [w for w in words if not any(w in hint.text for hint in hints)]


def _only_asks(text: str) -> bool:
    return all(s.endswith("?") for s in re.split(r"(?<=[.?!])\s+", text.strip()))
