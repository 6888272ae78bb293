"""Tries hints: each remedy that a package's errors suggest is followed by a program that runs.

A hint that does not work is worse than none. So the tests of a package have a table whose rows are
a mistake, words of the hint in its error, and the program that follows the hint literally.
`hints_in` finds the hints in the sources (see `hint_sources`), and `untried` lists those that no
row covers, so that a test fails for a new hint without a row.

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
      words: words of the hint as in the source, with `{}` for parts that are filled in; enough of
        them to distinguish it from other hints.
      mistake: raises the error.
      corrected: the same program, changed as the hint says.
      filled: the texts for the `{}`s in this error, where they matter.
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
    """All that is printed for an error, on one line."""
    text = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return " ".join(text.split())


def try_remedy(remedy: Remedy) -> None:
    """Makes the mistake, reads the hint, and follows it.

    Raises:
      AssertionError: the mistake raises no error, or a different one.
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
    """The hints that suggest a program and that no remedy covers, one per line.

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
    """Words in a table that no hint contains, or no longer contains."""
    return [w for w in words if not any(w in hint.text for hint in hints)]


def _only_asks(text: str) -> bool:
    return all(s.endswith("?") for s in re.split(r"(?<=[.?!])\s+", text.strip()))
