"""Attention whose arrays are split over a mesh with explicit axes.

Attention in blocks has many intermediate results. JAX would require a layout for each of them, so
their layouts are left to XLA.

Along the sequence, however, each device computes the output of its own queries:

    output[i] = attention(query[i], all keys, all values)        i: the device along the axis

The positions of its queries begin at i · Q / n. Keys and values are gathered in one piece before
the loop over the blocks, and their gradients are summed over the devices after it. Left to XLA,
every device would gather the queries as well, and compute all rows.

The sequence is left to XLA, too, in two cases: with dropout, whose masks are drawn for blocks of
all queries and must not depend on the number of devices; and outside `jax.jit`, where
`jax.shard_map` takes either all axes of a mesh or none.

B batch (any number of dimensions), Q queries, K keys, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from linnet.module_core.layers import Array
from linnet.module_core.layout import automatic, entries_of, layout_of

from ._call import Call

Leaf = tuple[Any, int | None]
"""A value of a call, and its dimension of queries, counted from the end."""


def on_explicit_mesh(attend: Callable[[Call], Array], call: Call, layout: NamedSharding) -> Array:
    """`attend(call)`, which is split like the query.

    Args:
      attend: computes the weighted values.
      call: its arguments.
      layout: the layout of the query.
    """
    axes = entries_of(layout, call.query.ndim)[-3]
    names, leaves, tree, of_queries = _arrays(call)
    traced = [isinstance(leaf, jax.Array) for leaf in leaves]
    arrays = [x for x in leaves if isinstance(x, jax.Array)]

    def filled(call: Call, arrays: tuple[Array, ...]) -> Call:
        rest = iter(arrays)
        new = [next(rest) if t else leaf for t, leaf in zip(traced, leaves, strict=True)]
        return call._replace(**dict(zip(names, jax.tree.unflatten(tree, new), strict=True)))

    def of_all(*arrays: Array) -> Array:
        return attend(filled(call, arrays))

    traced_here = any(isinstance(x, jax.core.Tracer) for x in arrays)
    if axes is None or call.dropout is not None or not traced_here:
        result: Array = automatic(of_all, layout)(*arrays)
        return result

    assert call.value is not None
    gathered = [entries_of(layout_of(x), x.ndim)[-3] == axes for x in (call.key, call.value)]

    def of_own(*arrays: Array) -> Array:
        """The rows of this device."""
        here = filled(call, arrays)
        key, value = here.key, here.value
        assert value is not None
        if all(gathered) and key.dtype == value.dtype:
            both = _gathered(lax.concatenate([key, value], key.ndim - 1), axes)
            key, value = both[..., : key.shape[-1]], both[..., key.shape[-1] :]
        else:
            key, value = (
                _gathered(x, axes) if split else x
                for x, split in zip((key, value), gathered, strict=True)
            )
        queries = here.query.shape[-3]
        offset = here.visible.offset + lax.axis_index(axes) * queries
        return attend(
            here._replace(
                key=key,
                value=value,
                visible=here.visible._replace(offset=offset),
                sizes=call.sizes._replace(queries=queries),
            )
        )

    def spec(x: Array, dimension: int | None) -> PartitionSpec:
        entries: list[Any] = [None] * x.ndim
        if dimension is not None and x.ndim >= -dimension and x.shape[dimension] > 1:
            entries[dimension] = axes
        return PartitionSpec(*entries)  # type: ignore[no-untyped-call]

    splits = dict(zip((id(call.key), id(call.value)), gathered, strict=True))
    dimensions = [-3 if splits.get(id(x)) else d for x, d in zip(leaves, of_queries, strict=True)]
    specs = [spec(x, d) for x, d, t in zip(leaves, dimensions, traced, strict=True) if t]
    by_device = jax.shard_map(
        of_own,
        in_specs=tuple(specs),
        out_specs=spec(call.query, -3),
        axis_names=set(axes) if isinstance(axes, tuple) else {axes},
        check_vma=False,  # the carries of the loop begin as constants, which are equal everywhere
    )
    output: Array = automatic(by_device, layout)(*arrays)
    return output


def _gathered(x: Array, axes: str | tuple[str, ...]) -> Array:
    """The parts of all devices, concatenated along the sequence."""
    result: Array = lax.all_gather(x, axes, axis=x.ndim - 3, tiled=True)
    return result


def _arrays(call: Call) -> tuple[list[str], list[Any], Any, list[int | None]]:
    """The parts of a call that hold arrays: names, leaves, structure, and dimensions of queries.

    Dimensions of queries are counted from the end; they are None for leaves without queries.
    """
    where = {
        "query": -3,
        "key": None,
        "value": None,
        "scale": None,
        "bias": -2,
        "distance_bias": None,
        "sinks": None,
        "visible": None,
        "dropout": None,
    }
    leaves: list[Any] = []
    dimensions: list[int | None] = []
    parts = {name: getattr(call, name) for name in where}
    of_visible = {"mask": -2, "segments": -1}
    for name, part in parts.items():
        mine = jax.tree.leaves(part)
        leaves += mine
        if name == "visible":
            for field, value in zip(part._fields, part, strict=True):
                dimensions += [of_visible.get(field)] * len(jax.tree.leaves(value))
        else:
            dimensions += [where[name]] * len(mine)
    return list(where), leaves, jax.tree.structure(tuple(parts.values())), dimensions
