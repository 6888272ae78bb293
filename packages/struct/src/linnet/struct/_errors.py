"""The form of this package's errors: a first line that can be read alone in a log, then a hint."""

from __future__ import annotations

from collections.abc import Iterable


def message(what: str, hint: str | None = None) -> str:
    """What happened, with the numbers, and on a second line how to fix it."""
    return f"{what}\n  {hint}" if hint else what


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests what `name` was meant to be, or lists the choices."""
    from difflib import get_close_matches

    names = list(dict.fromkeys(known))
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "There are: " + ", ".join(repr(n) for n in names) + "." if names else "There are none."
