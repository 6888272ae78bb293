"""Detects whether a program has replaced one of jax's functions.

Libraries that quantize, count or time a model do so: they replace `jax.lax.dot_general`, or its
code, with something that they can watch. Layers that call it use the replacement. A recording of
such a call, when replayed, does not, so it has to check.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType

import jax


@cache
def watch(module: ModuleType, name: str) -> Callable[[], bool]:
    """A function that returns whether `module.name` is now another function, or has other code.

    If so, no recording is replayed, and none is made, since it would outlive the change.

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


# Both styles import this early: layers may be imported later, in a program that has already
# replaced a function.
dot_is_replaced = watch(jax.lax, "dot_general")
einsum_is_replaced = watch(jax.numpy, "einsum")
