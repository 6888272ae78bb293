"""The vocabulary of axes in `vmap` and `scan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..boxes import add_axis as add_axis
from ..boxes import remove_axis as remove_axis
from ..errors import ArgumentError
from ..typing import In as In
from ..typing import InOutAxis as InOutAxis
from ..typing import InOutScanAxis as InOutScanAxis
from ..typing import Out as Out
from ..typing import PyTree
from .filters import CollectionFilter, group_collections, in_filter


class _Broadcast:
    """Marks a value that is the same in all steps: an input or an unchanged output."""

    def __repr__(self) -> str:
        return "broadcast"

    def __reduce__(self) -> str:
        return "broadcast"


broadcast = _Broadcast()
"""Used instead of an axis for an argument or collection that is the same in every step."""

Axes = Mapping[CollectionFilter, Any]


def in_axes_of(axes: Axes) -> dict[CollectionFilter, Any]:
    """The input collections, with the axis of each."""
    return {
        f: axis.axis if isinstance(axis, In) else axis
        for f, axis in axes.items()
        if not isinstance(axis, Out)
    }


def out_axes_of(axes: Axes) -> dict[CollectionFilter, Any]:
    """The output collections, with the axis of each."""
    return {
        f: axis.axis if isinstance(axis, Out) else axis
        for f, axis in axes.items()
        if not isinstance(axis, In)
    }


def axis_in(axes: Axes, collection: str) -> int | None:
    """The axis of a collection, by the first filter that matches it; None if none does."""
    return next((axis for f, axis in axes.items() if in_filter(f, collection)), None)


def split_streams(
    keys: Sequence[Mapping[str, jax.Array]], split_rngs: Mapping[Any, bool]
) -> tuple[list[dict[str, jax.Array]], list[dict[str, jax.Array]]]:
    """The keys to split and the keys to share, for each root; unlisted streams are in neither."""
    split: list[dict[str, jax.Array]] = []
    shared: list[dict[str, jax.Array]] = []
    for root in keys:
        groups = group_collections(root, list(split_rngs))
        split.append({})
        shared.append({})
        for part, splits in zip(groups, split_rngs.values(), strict=True):
            (split if splits else shared)[-1].update(part)
    return split, shared


def join_streams(
    a: Sequence[Mapping[str, jax.Array]], b: Sequence[Mapping[str, jax.Array]]
) -> list[dict[str, jax.Array]]:
    """Reverses `split_streams`."""
    return [{**x, **y} for x, y in zip(a, b, strict=True)]


Sizes = dict[int, str]  # the sizes of mapped axes, each with the first value that has it


def axis_sizes(axes: object, tree: PyTree, name: Callable[[Any], str]) -> Sizes:
    """The sizes of the mapped axes; `axes` is a prefix of `tree`; None and `broadcast` map nothing.

    Args:
      axes, tree: the axis of each value.
      name: a value's name in messages, from its path in `tree`.

    Raises:
      ArgumentError: an array has no such axis.
    """
    sizes: Sizes = {}

    def collect(path: tuple[Any, ...], axis: int | _Broadcast | None, part: object) -> None:
        if axis is None or isinstance(axis, _Broadcast):
            return
        for inner, leaf in jax.tree_util.tree_flatten_with_path(part)[0]:
            shape = np.shape(leaf)
            if not -len(shape) <= axis < len(shape):
                raise ArgumentError(
                    f"{name((*path, *inner))} of shape {shape} has no axis {axis} to map over.",
                    hint="Check in_axes and variable_axes; None (or nn.broadcast in scan) maps "
                    "nothing.",
                )
            if shape[axis] not in sizes:
                sizes[shape[axis]] = name((*path, *inner))

    jax.tree_util.tree_map_with_path(
        collect, axes, tree, is_leaf=lambda x: x is None or x is broadcast
    )
    return sizes


def input_name(path: tuple[Any, ...], after: int = 0) -> str:
    """Names an argument by number, where the module is 0 and `after` other arguments follow it."""
    first, *inner = path
    return f"Argument {first.idx + 1 + after}{jax.tree_util.keystr(tuple(inner))}"


def keyword_name(path: tuple[Any, ...]) -> str:
    """Names an argument that was passed by keyword."""
    first, *inner = path
    return f"Argument {first.key}{jax.tree_util.keystr(tuple(inner))}"


def variable_name(path: tuple[Any, ...]) -> str:
    """Names a variable from its path in a list of collections, one for each root."""
    names = [str(entry.key) for entry in path if isinstance(entry, jax.tree_util.DictKey)]
    return f"Variable {'/'.join(names[1:])!r} of the collection {names[0]!r}"


def map_prefix(fn: Callable[[Any, Any], Any], axes: object, tree: object) -> object:
    """Applies `fn(axis, subtree)` for each axis in `axes`, a prefix of `tree`."""
    return jax.tree.map(fn, axes, tree, is_leaf=lambda x: x is None or x is broadcast)


def as_prefix(axes: object) -> object:
    """`axes` for a tuple of arguments, with a list converted to a tuple."""
    return tuple(axes) if isinstance(axes, list) else axes


def length_beside(xs: object, steps: int) -> int | None:
    """The argument `length` of `lax.scan`: None if xs has arrays, which determine it.

    In an exported program, their length may be unknown, and `lax.scan` takes only a known one.
    """
    return None if jax.tree.leaves(xs) else steps


def one_size(sizes: Sequence[Sizes], given: int | None, kind: str, name: str) -> int:
    """The only size among `sizes`, or the given one.

    Args:
      sizes: the sizes of the mapped axes.
      given: the value of the argument `name`, if the user passed it.
      kind: the kind of size, for the error: "batch axis sizes", "scan lengths".
      name: the name of the argument that sets the size.

    Raises:
      ArgumentError: there is no size, or more than one.
    """
    found: Sizes = {} if given is None else {given: name}
    for of_some in sizes:
        found = of_some | found
    if len(found) > 1:
        who = "; ".join(f"{found[size]} has {size}" for size in sorted(found))
        raise ArgumentError(
            f"Inconsistent {kind}: {sorted(found)}"
            + (f" (with {name}={given})." if given is not None else "."),
            hint=(
                "All mapped inputs and collections must have the same size along their axes. "
                f"Here {who}."
            ),
        )
    if not found:
        raise ArgumentError(
            f"{name} should be specified manually.",
            hint=f"No input is mapped, so pass {name}=...",
        )
    return next(iter(found))
