"""Records arithmetic once while JAX traces, and replays the recording afterwards.

A deep model repeats a few layers with arguments of the same few shapes. Under `jax.jit` each is
recorded equation by equation, at 15 µs per equation; keeping a recording and copying it whole
(`jax.jit` with `inline=True`, as `jax.numpy` does) takes half as long and gives the same equations.

Concrete arrays are computed operation by operation: compiled as one program, the operations would
be fused and round differently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def is_staged(x: object) -> bool:
    """Whether `x` represents a value of a program that is being traced (jit, scan, ...).

    False for arrays, and for the tracers of `jax.grad` and `jax.vmap`, which may hold arrays.
    """
    return isinstance(x, jax.core.Tracer) and type(x) is _recorder()


@cache
def _recorder() -> type:
    seen: list[type] = []

    def look(x: object) -> object:
        seen.append(type(x))
        return x

    jax.make_jaxpr(look)(np.float32(0))
    return seen[0]


def recorded_once(function: Callable[P, R]) -> Callable[P, R]:
    """`function` of an array, recorded once for each shape and each choice of other arguments.

    Args:
      function: takes an array first; if other arguments are arrays too, nothing is recorded.
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

    return wrapper


_CONSTANTS = (int, str, type(None))


@lru_cache(maxsize=256, typed=True)
def _recording(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...]
) -> Callable[..., Any]:
    options = dict(kwargs)
    return jax.jit(lambda x: function(x, *args, **options), inline=True)
