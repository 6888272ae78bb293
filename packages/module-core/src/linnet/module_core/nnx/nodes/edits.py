"""Decides which edits are allowed, and detects whether anything was edited.

Every assignment to a module or variable involves two things:

- `count`: the number of edits of structure, of any module. While it doesn't change, no cached
  structure can have changed, except in plain lists and dicts, whose edits are not counted.
- the stamp: the stack of jax traces under which a module or variable was made. Writing to it under
  a different stack would leak a tracer, and raises an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..._compat import trace_state as trace_state
from ...errors import TraceContextError

count = [0]
"""The number of edits, in a list so that all modules share it."""


replaced = [0]
"""The number of assignments of `__class__` or `__dict__`, which comparing contents can't detect."""


_last: list[Any] = [None]


def stamp() -> object:
    """The current trace state; while it stays equal, it is the same object, for fast comparison."""
    now, last = trace_state(), _last[0]
    if now == last:
        return last
    _last[0] = now
    return now


def place_of_creation() -> tuple[str, int]:
    """The file and line of the first caller outside Linnet."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("linnet."):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def check_trace(stamp: object, describe: Callable[[], str]) -> None:
    """Checks that an edit happens under the stack of traces of `stamp`.

    Args:
      stamp: the stamp of the edited object.
      describe: a function that returns a description of the object, for the error.

    Raises:
      TraceContextError: the stacks differ.
    """
    if stamp != trace_state():
        raise TraceContextError(
            f"Cannot mutate {describe()} from different trace level.",
            hint=(
                "It was made outside the function that jax transforms here, and reached the "
                "function through its closure or a raw jax transform. Pass it (or the module "
                "that holds it) as an argument of the function and transform that with nnx.jit, "
                "nnx.grad, nnx.vmap or the like, which return the change to the caller."
            ),
        )
