"""`with_rngs`: a copy of an object with other streams.

The copy shares all variables with the object, except those of its streams.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp

from ...accepted import accepted
from ..filters import All, Filter, to_predicate
from ..nodes.pytree import Pytree
from .rng_splitting import Rule, Shape, as_shape, copy_with, split_to

N = TypeVar("N")
F = TypeVar("F", bound=Callable[..., Any])
_MISSING: Any = object()


@overload
def with_rngs(
    node: N,
    /,
    *,
    split: Mapping[Filter, Shape] | Shape | None = None,
    fork: Filter | Sequence[Filter] | None = None,
    broadcast: Mapping[Filter, Shape] | Shape | None = None,
    only: Filter = True,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> N: ...
@overload
def with_rngs(
    *,
    split: Mapping[Filter, Shape] | Shape | None = None,
    fork: Filter | Sequence[Filter] | None = None,
    broadcast: Mapping[Filter, Shape] | Shape | None = None,
    only: Filter = True,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[F], F]: ...
def with_rngs(
    node: object = _MISSING,
    /,
    *,
    split: Mapping[Filter, Shape] | Shape | None = None,
    fork: Filter | Sequence[Filter] | None = None,
    broadcast: Mapping[Filter, Shape] | Shape | None = None,
    only: Filter = True,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> object:
    """Copies an object and splits, forks or broadcasts the streams of the copy.

    The first of `split`, `broadcast` and `fork` that selects a stream applies to it. The new stream
    starts from the next key of the original stream, which continues after it. A stream that none
    selects is copied unchanged.

    Args:
      node: an object with streams. If it is omitted, or is a function, the result is a decorator,
        which passes such copies of the arguments to the function.
      split: number of keys (or shape of the array of keys), for all streams or by filter.
      fork: which streams restart from a single key.
      broadcast: like `split`, with the same key repeated.
      only: limits the streams that are replaced.
      graph: False raises an error for shared references.
      graph_updates: accepted for Flax programs; the object is never changed here.

    >>> from linnet.module_core import nnx
    >>> rngs = nnx.Rngs(params=0, dropout=1)
    >>> new = nnx.with_rngs(rngs, split={"params": 4}, fork="dropout")
    >>> new.params.key.shape, new.dropout.key.shape, rngs.params.key.shape
    ((4,), (), ())
    """
    accepted(graph_updates=graph_updates)
    rules: list[Rule] = [
        *((p, split_to(shape)) for p, shape in _by_filter(split)),
        *((p, functools.partial(_broadcast, shape)) for p, shape in _by_filter(broadcast)),
        *((to_predicate(f), split_to(None)) for f in ([] if fork is None else [fork])),
    ]
    rules = [(All(only, p), make) for p, make in rules]

    def decorate(f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def run(*args: object, **kwargs: object) -> object:
            args, kwargs = copy_with((args, kwargs), rules, graph)
            return f(*args, **kwargs)

        return run

    if node is _MISSING:
        return decorate
    if callable(node) and not isinstance(node, Pytree):
        return decorate(node)
    return copy_with(node, rules, graph)


def _by_filter(spec: object) -> list[tuple[Any, tuple[int, ...]]]:
    if spec is None:
        return []
    rules = spec.items() if isinstance(spec, Mapping) else [(..., spec)]
    return [(to_predicate(f), as_shape(n)) for f, n in rules]


def _broadcast(shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    return jnp.broadcast_to(key, shape)
