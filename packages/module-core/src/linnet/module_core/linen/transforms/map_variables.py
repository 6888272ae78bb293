"""`map_variables`: a module that sees its variables through a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.struct import FrozenDict

from ...typing import Output, PyTree
from ..axes import Axes, add_axis, remove_axis
from ..filters import CollectionFilter, group_collections, subtract_filters, union_filters
from ..lift_targets import Methods, Target, lift_target
from ..lifting import Lift, merge, ungroup


def _identity(collections: object) -> object:
    return collections


def map_variables(
    target: Target,
    mapped_collections: CollectionFilter = True,
    trans_in_fn: Callable[[Any], Any] = _identity,
    trans_out_fn: Callable[[Any], Any] = _identity,
    init: bool = False,
    mutable: bool = False,
    rngs: CollectionFilter = True,
    variables: CollectionFilter = True,
    methods: Methods = None,
) -> Target:
    """Maps the variables that a module reads, and those that it writes.

    For example, weights may be normalized, quantized, or shared in a different form from the stored
    one:

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return x * self.param("s", jax.nn.initializers.ones, ())
    >>> def double(collections):
    ...     return jax.tree.map(lambda x: 2 * x, collections)
    >>> Doubled = nn.map_variables(Scale, "params", double)
    >>> Doubled().apply({"params": {"s": 1.5}}, jnp.ones(2))
    Array([3., 3.], dtype=float32)

    Args:
      target: a module class, or a function or method of a module.
      mapped_collections: the collections that are mapped.
      trans_in_fn: dict of the mapped collections as stored -> as the module sees them.
      trans_out_fn: the reverse, for what the module has changed.
      init: if the collections are mutable (as in `init`), first run the method on the unmapped
        collections, so that it can make its variables; these go through `trans_out_fn`, and the
        result through `trans_in_fn` into the actual run.
      mutable: whether the method may change the mapped collections.
      rngs, variables: the random streams, and the other collections, that exist inside.
      methods: for a class: names of the methods to transform (default `__call__`).
    """
    options = {
        "mapped": mapped_collections,
        "trans_in": trans_in_fn,
        "trans_out": trans_out_fn,
        "init": init,
        "mutable": mutable,
        "rngs": rngs,
        "variables": variables,
    }
    return lift_target(run_map_variables, target, "Map_variables", methods, options)


def run_map_variables(
    lift: Lift,
    *,
    mapped: CollectionFilter,
    trans_in: Callable[[Any], Any],
    trans_out: Callable[[Any], Any],
    init: bool,
    mutable: bool,
    rngs: CollectionFilter,
    variables: CollectionFilter,
) -> Output:
    """The transform itself: runs the lifted call on the variables that `trans_in` returns."""
    stored = lift.collections(mapped)
    others = subtract_filters(variables, mapped)
    rest, keys = lift.collections(others), lift.keys(rngs)
    init = init and _any_mutable(lift, mapped)
    if init:
        lifted = lift.mutable(union_filters(mapped, others))
        _, after = lift.run(ungroup([stored, rest]), keys, lifted, whole=True)
        made = [group_collections(root, [mapped])[0] for root in after]
        stored = merge(stored, [dict(trans_out(new)) for new in made])
        mutable = True
    seen = [dict(trans_in(root)) for root in stored]
    allowed = lift.mutable(union_filters(mapped, others) if mutable else others)
    output, after = lift.run(ungroup([seen, rest]), keys, allowed, whole=True)
    whole = [group_collections(root, [mapped, True]) for root in after]
    parts = [group_collections(root, [mapped, True]) for root in lift.pick(after)]
    # As in Flax, `trans_out` gets everything that the module sees, changed or not: mutable mapped
    # collections come back as `trans_out` of the result of `trans_in`.
    mapped_out = [dict(trans_out(new)) if new else {} for new, _ in whole]
    lift.store(ungroup([mapped_out, [part for _, part in parts]]))
    return output


def _any_mutable(lift: Lift, filter_like: CollectionFilter) -> bool:
    return lift.mutable(filter_like) is not False


def add_metadata_axis(
    target: Target,
    variable_axes: Axes = FrozenDict({}),
    metadata_params: Mapping[Any, Any] = FrozenDict({}),
) -> Target:
    """Adds an axis to the metadata of the boxes around a module's variables, not to the values.

    Args:
      target: a module class, or a function or method of a module.
      variable_axes: the axis for each collection (a filter).
      metadata_params: parameters of the axis for the boxes.
    """
    for collections, axis in variable_axes.items():
        change = _BoxAxis(axis, metadata_params)
        target = map_variables(target, collections, change.remove, change.add, mutable=True)
    return target


class _BoxAxis:
    """Adds an axis to the metadata of the boxes in a tree, or removes it."""

    def __init__(self, axis: int | None, params: Mapping[Any, Any]) -> None:
        self._axis = axis
        self._params = params

    def add(self, tree: PyTree) -> object:
        return add_axis(tree, self._axis, self._params)

    def remove(self, tree: PyTree) -> object:
        return remove_axis(tree, self._axis, self._params)
