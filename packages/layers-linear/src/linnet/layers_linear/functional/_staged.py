"""Whether arithmetic is being recorded, and may therefore be replayed from an earlier recording.

A deep model repeats a few layers with arguments of the same few shapes. Under `jax.jit` each is
recorded equation by equation, 15 µs each; a recording that is kept and copied in whole (`jax.jit`
with `inline=True`, as `jax.numpy` does) takes half as long and gives the same equations.

Not so for arrays: there the copy would be compiled as one program, fused, and rounded differently
from the same operations run one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def is_staged(x: Any) -> bool:
    """Whether `x` stands for a value of a program that is being recorded (jit, scan, ...).

    False for arrays, and for what `jax.grad` and `jax.vmap` pass: behind that may be arrays.
    """
    return isinstance(x, jax.core.Tracer) and type(x) is _recorder()


@cache
def _recorder() -> type:
    seen: list[type] = []

    def look(x: Any) -> Any:
        seen.append(type(x))
        return x

    jax.make_jaxpr(look)(np.float32(0))
    return seen[0]


def recorded_once(function: Callable[P, R], module: str) -> Callable[P, R]:
    """`function` of one array, recorded once for each of its shapes and its other arguments.

    Args:
      function: takes an array first; what follows may be arrays too, but then nothing is kept.
      module: where the result will be found by `function`'s name (it is pickled so).
    """
    call: Callable[..., R] = function

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if args and is_staged(args[0]):
            rest = (*args[1:], *kwargs.values())
            if all(isinstance(v, _CONSTANTS) for v in rest):
                replay: Callable[..., R] = _recording(call, args[1:], tuple(kwargs.items()))
                return replay(args[0])
        return call(*args, **kwargs)

    wrapper.__module__ = module
    wrapper.__qualname__ = wrapper.__name__
    return wrapper


_CONSTANTS = (int, str, type(None))


@lru_cache(maxsize=256, typed=True)
def _recording(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...]
) -> Any:
    options = dict(kwargs)
    return jax.jit(lambda x: function(x, *args, **options), inline=True)
