"""Decides which edits are allowed, and detects whether anything was edited at all.

Every assignment to a module or variable goes through two checks:

- `count`: how many edits of structure there were, of any module. As long as it doesn't change, no
  remembered structure can have changed, save in plain lists and dicts, which nobody watches.
- the stamp: the stack of jax traces under which a module or variable was made. Writing to it under
  another stack would leak a tracer, and raises an error.
"""

from __future__ import annotations

import sys
from typing import Any

from ..._compat import trace_state as trace_state
from ...errors import TraceContextError

count = [0]
"""The number of edits, in a list so that all see the same."""


replaced = [0]
"""How often an object got another class or another `__dict__`, which no comparison of contents
finds."""


_last: list[Any] = [None]


def stamp() -> Any:
    """The current trace state, one object as long as it is the same, which compares fastest."""
    now, last = trace_state(), _last[0]
    if now == last:
        return last
    _last[0] = now
    return now


def place_of_creation() -> tuple[str, int]:
    """File and line of the first caller that isn't Linnet's own code."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("linnet."):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def check_trace(stamp: Any, describe: Any) -> None:
    """Checks that an edit happens under the stack of traces of `stamp`.

    Args:
      stamp: of the thing that is edited.
      describe: called for a description of it, if it comes to an error.

    Raises:
      TraceContextError: always, when the stacks differ.
    """
    if stamp != trace_state():
        raise TraceContextError(
            f"Cannot mutate {describe()} from different trace level.",
            hint="It was made outside of the function that jax transforms here, and reached the"
            " function through its closure or a raw jax transform. Pass it (or the module that"
            " holds it) as an argument of the function and transform that with nnx.jit, nnx.grad,"
            " nnx.vmap ...: they hand the change back to the caller.",
        )
