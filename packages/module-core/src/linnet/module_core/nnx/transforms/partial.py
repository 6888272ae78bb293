"""`cached_partial` and `jit_partial`: functions with their first arguments fixed.

In Flax, these functions save a walk over the fixed arguments on every call. Here, structures are
cached anyway, so the functions only fix arguments; the fixed modules may change like any others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, TypeVar, Unpack, overload

from ...accepted import accepted
from ...tracebacks import entry
from .calling import P, R
from .jit import JitOptions, jit
from .stages import Lowered, Traced

A = TypeVar("A")
B = TypeVar("B")


@overload
def cached_partial(
    f: Callable[Concatenate[A, P], R],
    first: A,
    /,
    *,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[P, R]: ...
@overload
def cached_partial(
    f: Callable[Concatenate[A, B, P], R],
    first: A,
    second: B,
    /,
    *,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[P, R]: ...
@overload
def cached_partial(
    f: Callable[..., R],
    *cached_args: object,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[..., R]: ...
def cached_partial(
    f: Callable[..., Any],
    *cached_args: object,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[..., Any]:
    """The given `nnx.jit` function with its first arguments fixed.

    Args:
      f: the function.
      *cached_args: its first arguments, modules for example.
      graph, graph_updates: accepted; the options of `f` apply.

    >>> from linnet.module_core import nnx
    >>> add = cached_partial(nnx.jit(lambda x, y: x + y), 1)
    >>> add(2)
    Array(3, dtype=int32, weak_type=True)
    """
    accepted(graph=graph, graph_updates=graph_updates)

    @functools.wraps(f)
    def partial(*args: object, **kwargs: object) -> object:
        return f(*cached_args, *args, **kwargs)

    return partial


@overload
def jit_partial(
    fun: Callable[Concatenate[A, P], R], first: A, /, **options: Unpack[JitOptions]
) -> JitPartial[P, R]: ...
@overload
def jit_partial(
    fun: Callable[Concatenate[A, B, P], R], first: A, second: B, /, **options: Unpack[JitOptions]
) -> JitPartial[P, R]: ...
@overload
def jit_partial(
    fun: Callable[..., R], *partial_args: object, **options: Unpack[JitOptions]
) -> JitPartial[..., R]: ...
def jit_partial(
    fun: Callable[..., R], *partial_args: object, **options: Unpack[JitOptions]
) -> JitPartial[Any, R]:
    """`nnx.jit` of a function with its first arguments fixed.

    Args:
      fun: the function.
      *partial_args: its first arguments, modules for example.
      **options: options of `nnx.jit`; positions include the fixed arguments.
    """
    return JitPartial(fun, partial_args, options)


class JitPartial(Generic[P, R]):
    """The result of `jit_partial`, with `lower`, `trace` and `eval_shape`."""

    def __init__(
        self, fun: Callable[..., R], partial_args: tuple[Any, ...], options: JitOptions
    ) -> None:
        self.fun = fun
        self.partial_args = partial_args
        self.jitted_fn = jit(fun, **options)

    @entry
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.jitted_fn(*self.partial_args, *args, **kwargs)

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> Lowered[R]:
        """See `Jitted.lower`."""
        return self.jitted_fn.lower(*self.partial_args, *args, **kwargs)

    def trace(self, *args: P.args, **kwargs: P.kwargs) -> Traced[R]:
        """See `Jitted.trace`."""
        return self.jitted_fn.trace(*self.partial_args, *args, **kwargs)

    def eval_shape(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """See `Jitted.eval_shape`."""
        return self.jitted_fn.eval_shape(*self.partial_args, *args, **kwargs)
