"""Whether a program has replaced one of jax's functions.

Libraries that quantize, count or time a model do: they set `jax.lax.dot_general`, or its code, to
something that they can watch. Layers that call it notice by themselves. What was recorded from such
a call, and is replayed, does not: it has to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType

import jax


@cache
def watch(module: ModuleType, name: str) -> Callable[[], bool]:
    """A function that says whether `module.name` is another function now, or has other code.

    Where it says yes, a recording is not replayed; nor is one made, which would outlive the change.

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


# Both styles import this when they are imported: layers may be imported later, within a program
# that has replaced a function already.
dot_is_replaced = watch(jax.lax, "dot_general")
einsum_is_replaced = watch(jax.numpy, "einsum")
