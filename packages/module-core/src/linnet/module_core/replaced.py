"""Detects whether a program has replaced a jax function.

Libraries that quantize, count or time a model replace `jax.lax.dot_general`, or its code, with a
function that they can observe. Layers that call it use the replacement. A replayed recording of
such a call does not, so code that replays one has to check first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType

import jax


@cache
def watch(module: ModuleType, name: str) -> Callable[[], bool]:
    """Returns a function that checks whether `module.name` or its code has been replaced since.

    If so, recordings are not replayed, and no new ones are made, since they would outlive the
    replacement.

    >>> import jax
    >>> is_replaced = watch(jax.lax, "dot_general")
    >>> is_replaced()
    False
    """
    function = getattr(module, name)
    code = getattr(function, "__code__", None)

    def is_replaced() -> bool:
        now = getattr(module, name)
        return now is not function or getattr(now, "__code__", None) is not code

    return is_replaced


# Both styles import this early, since a program may have replaced a function by the time layers
# are imported.
dot_is_replaced = watch(jax.lax, "dot_general")
einsum_is_replaced = watch(jax.numpy, "einsum")
