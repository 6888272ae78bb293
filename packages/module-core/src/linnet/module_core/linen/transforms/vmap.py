"""`vmap`: one module on many examples, with separate or shared parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from linnet.struct import FrozenDict

from ...errors import ArgumentError
from ...typing import Output, Prefix
from ..axes import (
    Axes,
    add_axis,
    as_prefix,
    axis_in,
    axis_sizes,
    in_axes_of,
    input_name,
    join_streams,
    keyword_name,
    one_size,
    out_axes_of,
    remove_axis,
    split_streams,
    variable_name,
)
from ..filters import union_of
from ..frame import Collections
from ..lift_targets import Methods, Target, lift_target
from ..lifting import Lift, group, ungroup
from ..passages import Loop, Loops


def vmap(
    target: Target,
    variable_axes: Axes = FrozenDict({}),
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
    in_axes: object = 0,
    out_axes: object = 0,
    axis_size: int | None = None,
    axis_name: object = None,
    spmd_axis_name: object = None,
    metadata_params: Mapping[Any, Any] = FrozenDict({}),
    methods: Methods = None,
) -> Target:
    """Lifted `jax.vmap`.

    Collections and random streams that are not listed do not exist inside.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return x * self.param("s", jax.nn.initializers.normal(), ())
    >>> Batch = nn.vmap(Scale, variable_axes={"params": 0}, split_rngs={"params": True})
    >>> Batch().init(jax.random.key(0), jnp.ones((4, 2)))["params"]["s"].shape
    (4,)

    Args:
      target: a module class, or a function or method of a module.
      variable_axes: the axis of each collection (a filter); None if all examples share it;
        `In(axis)` and `Out(axis)` for a collection that is only an input or only an output.
      split_rngs: for each random stream (a filter), whether each example gets a different key.
      in_axes, out_axes: axes of the arguments and the output, as in `jax.vmap`.
      axis_size: the number of examples, if it cannot be inferred from the arguments.
      axis_name, spmd_axis_name: as in `jax.vmap`.
      metadata_params: parameters of the new axis for the boxes around variables.
      methods: for a class: names of the methods to transform (default `__call__`), or a dict from
        names to options for each.

    Raises:
      ArgumentError: no size, or more than one, can be inferred.
      TransformTargetError: `target` is neither a class nor a function.
    """
    options = {
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "axis_size": axis_size,
        "axis_name": axis_name,
        "spmd_axis_name": spmd_axis_name,
        "metadata_params": metadata_params,
    }
    return lift_target(run_vmap, target, "Vmap", methods, options)


def run_vmap(
    lift: Lift,
    *,
    variable_axes: Axes,
    split_rngs: Mapping[Any, bool],
    in_axes: Prefix,
    out_axes: Prefix,
    axis_size: int | None,
    axis_name: object,
    spmd_axis_name: object,
    metadata_params: Mapping[Any, Any],
) -> Output:
    """The transform itself: runs the lifted call under `jax.vmap`."""
    enter, leave = in_axes_of(variable_axes), out_axes_of(variable_axes)
    in_axes = as_prefix(in_axes)
    axes = list(enter.values())
    # A box is updated while its value has the axis, because it may change the value, too.
    groups = [
        remove_axis(g, a, metadata_params)
        for g, a in zip(group(lift.collections(True), list(enter)), axes, strict=True)
    ]
    split, shared = split_streams(lift.keys(True), split_rngs)
    if axis_size is None or any(split):
        sizes = [axis_sizes(in_axes, lift.args, input_name)]
        sizes += [axis_sizes(dict.fromkeys(lift.kwargs, 0), lift.kwargs, keyword_name)]
        sizes += [axis_sizes(a, g, variable_name) for a, g in zip(axes, groups, strict=True)]
        axis_size = one_size(sizes, axis_size, "batch axis sizes", "axis_size")
    split = jax.tree.map(lambda key: jax.random.split(key, axis_size), split)
    mutable = lift.mutable(union_of(leave))
    splits = any("params" in keys for keys in split)

    def loops_of(collection: str) -> Loops:
        axis = axis_in(leave, collection)
        return () if axis is None else (Loop(axis_size, axis, splits, mapped=True),)

    lift.follow_draws(loops_of)

    differing: list[tuple[str, ...]] = []

    def body(
        groups: Sequence[Sequence[Collections]],
        split: list[dict[str, jax.Array]],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, list[list[Collections]]]:
        keys = join_streams(shared, split)
        output, changed = lift.run(_roots(groups, lift), keys, mutable, args, kwargs)
        out = group(changed, list(leave))
        same = [g for g, axis in zip(out, leave.values(), strict=True) if axis is None]
        differing[:] = _batched(same)
        return output, out

    mapped = jax.vmap(
        body,
        in_axes=(axes, 0, in_axes, 0),
        out_axes=(out_axes, list(leave.values())),
        axis_size=axis_size,
        axis_name=axis_name,
        spmd_axis_name=spmd_axis_name,
    )
    try:
        output, changed = mapped(groups, split, lift.args, lift.kwargs)
    except ValueError as error:
        if differing and "axis spec None" in str(error):
            raise _not_shared(differing[0], split_rngs) from error
        raise
    boxed = [add_axis(g, a, metadata_params) for g, a in zip(changed, leave.values(), strict=True)]
    lift.store(_roots(boxed, lift))
    return output


def _roots(groups: Sequence[Sequence[Collections]], lift: Lift) -> list[Collections]:
    return ungroup(groups) if groups else [{} for _ in lift.roots]


def _batched(groups: object) -> list[tuple[str, ...]]:
    """The paths of values that differ between the examples, collection first."""
    # jax rejects them too, but its message gives wrong positions.
    paths, _ = jax.tree_util.tree_flatten_with_path(groups)
    return [
        tuple(str(entry.key) for entry in path if isinstance(entry, jax.tree_util.DictKey))
        for path, leaf in paths
        if type(leaf).__name__ == "BatchTracer"
    ]


def _not_shared(path: tuple[str, ...], split_rngs: Mapping[Any, bool]) -> Exception:
    collection, *names = path
    split = [stream for stream, splits in split_rngs.items() if splits]
    keys = (
        f" split_rngs gives each example its own key ({', '.join(map(repr, split))}): pass "
        f"split_rngs={{{split[0]!r}: False}} for values that all share."
        if split
        else ""
    )
    return ArgumentError(
        f"In a vmap, the variable {'/'.join(names)!r} of the collection {collection!r} is shared "
        "(its axis is None), but its stored values differ between the examples.",
        hint=f"Give the collection an axis: variable_axes={{{collection!r}: 0}}.{keys}",
    )
