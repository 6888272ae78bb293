"""`pack`: the building block of lifted transforms, for transforms that are not defined here.

The variables and keys of a scope become explicit values, and a function makes a scope from
such values again. In between, any function of arrays may take and return them.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from ..errors import ArgumentError
from ..linen.filters import CollectionFilter, group_collections, intersect_filters, union_of
from ..linen.frame import Collections
from ..linen.lift_targets import function_call
from ..linen.lifting import Body, Lift, group, ungroup
from ..linen.rng import roots_of
from ..typing import PyTree

R = TypeVar("R")

Groups = tuple[tuple[Any, ...], ...]  # for each filter, a dict for each scope


def pack(
    fn: Callable[..., tuple[R, Any]],
    in_variable_filters: Sequence[CollectionFilter],
    out_variable_filters: Sequence[CollectionFilter],
    rng_filters: Sequence[CollectionFilter],
    name: str | None = None,
    enable_kwargs: bool = False,
) -> Callable[..., R]:
    """A function of a scope, from one that gets its variables and keys as values.

    `fn(scope_fn, repack_fn, variable_groups, rng_groups, *args)` returns (output, the groups of
    changed variables). `scope_fn(variable_groups, rng_groups)` makes a scope from values, and
    `repack_fn(scope)` returns the groups of the variables in it that may be changed. A group has a
    dict of collections (or of keys by stream) for each scope that the function is called with.

    >>> import jax
    >>> from linnet.module_core.functional import apply, lift
    >>> def doubled(body):
    ...     def fn(scope_fn, repack_fn, variables, keys, *args):
    ...         twice = jax.tree.map(lambda x: 2 * x, variables)
    ...         scope = scope_fn(twice, keys)
    ...         return body(scope, *args), repack_fn(scope)
    ...
    ...     return lift.pack(fn, (True,), (False,), (True,))
    >>> scaled = doubled(lambda scope, x: x * scope.get_variable("params", "s"))
    >>> apply(scaled)({"params": {"s": 3}}, 5)
    30

    Args:
      fn: see above.
      in_variable_filters: the collections in each of `variable_groups`.
      out_variable_filters: the collections in each of the groups that `fn` returns.
      rng_filters: the streams in each of `rng_groups`.
      name: the transform's name; accepted for compatibility with Flax.
      enable_kwargs: pass keywords on to `fn`; otherwise a warning says that they are ignored.

    Returns:
      A function (scope, *args) -> output, where `scope` may be a tree of scopes.
    """

    @functools.wraps(fn)
    def packed(scope: object, *args: object, **kwargs: object) -> R:
        if kwargs and not enable_kwargs:
            warnings.warn(
                f"Keywords are not passed on by {name or 'pack'}; ignored: {', '.join(kwargs)}. "
                "Pass arguments by position.",
                RuntimeWarning,
                stacklevel=2,
            )
            kwargs = {}
        lift = Lift(function_call(fn), scope)
        places = _Places(lift, out_variable_filters)
        variables = _groups(group(lift.collections(True), in_variable_filters))
        output, out_groups = fn(
            places.enter, places.leave, variables, _key_groups(lift, rng_filters), *args, **kwargs
        )
        places.end()
        if out_groups:
            lift.store(ungroup(out_groups))
        return output

    return packed


class _Places:
    """The scopes that a packed function makes, and the way back from them."""

    def __init__(self, lift: Lift, out_filters: Sequence[CollectionFilter]) -> None:
        self._lift = lift
        self._filters = out_filters
        self._mutable = lift.mutable(union_of(out_filters))
        self._bodies: list[Body] = []

    def enter(
        self,
        variable_groups: Sequence[Sequence[Collections]],
        rng_groups: Sequence[Sequence[dict[str, Any]]],
        mutable_filter: CollectionFilter = True,
    ) -> PyTree:
        """The scope, or tree of scopes, that holds variables and keys given as values."""
        lift = self._lift
        none: list[Any] = [{} for _ in lift.roots]
        streams: Any = ungroup(rng_groups or [none])
        found = [roots_of(of_root) for of_root in streams]
        body = lift.enter(
            ungroup(variable_groups or [none]),
            [keys for _, keys in found],
            intersect_filters(self._mutable, mutable_filter),
            suffixes=[names for names, _ in found],
        )
        self._bodies.append(body)
        return body.main

    def leave(self, scopes: object) -> Groups:
        """The groups of the variables in `scopes`, from `enter`, that may be changed."""
        first = jax.tree.leaves(scopes)[:1]
        for body in self._bodies:
            if jax.tree.leaves(body.main)[:1] == first and _same(body.main, scopes):
                after, _ = body.leave()
                return _groups(group(after, self._filters))
        raise ArgumentError(
            f"pack got {scopes!r:.60} to take variables from, which its function did not make.",
            hint="Pass repack_fn what scope_fn returned.",
        )

    def end(self) -> None:
        for body in self._bodies:
            body.frame.end()


def _same(a: PyTree, b: PyTree) -> bool:
    return all(x is y for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False))


def _groups(groups: Sequence[Sequence[Any]]) -> Groups:
    return tuple(tuple(of_filter) for of_filter in groups)


def _key_groups(lift: Lift, filters: Sequence[CollectionFilter]) -> Groups:
    roots = [group_collections(root.rngs, filters) for root in lift.roots]
    return tuple(tuple(groups[i] for groups in roots) for i in range(len(filters)))


def tree_map_rngs(fn: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Applies a function to each random key in a tree, lazy or not.

    >>> import jax
    >>> keys = tree_map_rngs(lambda key: jax.random.split(key, 3), {"params": jax.random.key(0)})
    >>> keys["params"].shape
    (3,)
    """
    return jax.tree.map(fn, tree)
