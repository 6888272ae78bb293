"""A note for a call whose arguments don't fit the function's parameters.

Python's error names only one argument. The note lists the parameters that the function takes and
the arguments that it got.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .errors import counted, did_you_mean


def mismatch(
    error: Exception, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """The note for an error about arguments that don't fit `fun`; None for any other error."""
    if not isinstance(error, TypeError) or _did_run(fun, error.__traceback__):
        return None
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return None
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    expected = signature.replace(parameters=bare[1:], return_annotation=signature.empty)
    count = len(args) - 1
    given = [counted(count, "positional argument"), *(f"{k}=" for k in kwargs)]
    hint = f"It takes {expected}; it got {', '.join(given)}."
    taken = [p.name for p in bare[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in kwargs:
        if name not in taken and (near := did_you_mean(name, taken)).startswith("Did"):
            hint += f" {near}"
    return hint


def _did_run(fun: Callable[..., Any], traceback: TracebackType | None) -> bool:
    """Whether the function itself is among the frames; if so, the error comes from deeper down."""
    code = getattr(inspect.unwrap(fun), "__code__", None)
    while traceback is not None:
        if traceback.tb_frame.f_code is code:
            return True
        traceback = traceback.tb_next
    return False
