"""The form of this package's errors: a first line that makes sense alone in a log, then a hint."""

from __future__ import annotations

from collections.abc import Iterable


def message(what: str, hint: str | None = None) -> str:
    """An error message: what happened, with numbers, and how to fix it on a second line."""
    return f"{what}\n  {hint}" if hint else what


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the name that was probably meant, or lists the choices."""
    from difflib import get_close_matches

    names = list(dict.fromkeys(known))
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "Available: " + ", ".join(repr(n) for n in names) + "." if names else "There are none."
