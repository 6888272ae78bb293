"""Boxes, which attach metadata to values.

A box is a pytree node around one value. Variables are stored boxed and read unboxed: a layer never
sees the box, but sharding rules and transforms do. `AxisMetadata` is the interface of a box.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import jax
import numpy as np

T = TypeVar("T")
U = TypeVar("U")
F = TypeVar("F", bound=Callable[..., object])


def keeps_value(add_axis: F) -> F:
    """Marks a box's `add_axis` as one that changes only metadata, as in most boxes."""
    add_axis.__dict__["keeps_value"] = True
    return add_axis


class AxisMetadata(abc.ABC, Generic[T]):
    """Base class of all boxes.

    A subclass is a pytree node, and defines how its metadata changes when a transform adds an axis
    to the value or removes one.
    """

    @abc.abstractmethod
    def unbox(self) -> T:
        """The value in the box."""

    def _contents(self) -> object:
        """The stored value, which `unbox` may transform."""
        return self.unbox()

    def _notice_mesh(self) -> None:
        """Warns if the box names axes of a mesh, but none is set; see `forgotten_mesh`."""

    @abc.abstractmethod
    def replace_boxed(self, val: object) -> AxisMetadata[Any]:
        """A copy of the box that holds `val`."""

    @abc.abstractmethod
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[T]:
        """The box after its value gained an axis at `index`; `params` describe the axis."""

    @abc.abstractmethod
    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[T]:
        """The box after its value lost the axis at `index`; `params` describe the axis."""


def is_axis_metadata(val: object) -> bool:
    """Whether `val` is a box."""
    return isinstance(val, AxisMetadata)


def map_axis_meta(fn: Callable[[AxisMetadata[Any]], object], tree: object) -> Any:
    """Applies `fn` to every box in `tree`, and leaves other values unchanged."""

    def apply(leaf: object) -> object:
        return fn(leaf) if isinstance(leaf, AxisMetadata) else leaf

    return jax.tree.map(apply, tree, is_leaf=is_axis_metadata)


def has_boxes(tree: object) -> bool:
    """Whether any value in `tree` is in a box."""
    if isinstance(tree, _BARE):
        return False
    return any(isinstance(x, AxisMetadata) for x in jax.tree.leaves(tree, is_leaf=is_axis_metadata))


# The usual types of a variable, which need no tree traversal.
_BARE = (jax.Array, np.ndarray, int, float)


def unbox(tree: object) -> Any:
    """Takes every value in `tree` out of its boxes, nested ones included."""
    if isinstance(tree, _BARE):
        return tree
    return map_axis_meta(lambda box: unbox(box.unbox()), tree)


def contents(tree: object) -> Any:
    """Like `unbox`, but without the transformation by the box, for example to inspect shapes."""
    if isinstance(tree, _BARE):
        return tree
    return map_axis_meta(lambda box: contents(box._contents()), tree)


def replace_boxed(tree: T, updates: object) -> T:
    """Puts the values of `updates` into the boxes of `tree`."""

    def put(box: object, value: object) -> object:
        if isinstance(box, AxisMetadata):
            return box.replace_boxed(replace_boxed(box._contents(), value))
        return value

    updated: T = jax.tree.map(put, tree, updates, is_leaf=is_axis_metadata)
    return updated


def changes_value(tree: object) -> bool:
    """Whether a box in `tree` may change its value when a transform adds an axis to it."""
    if not isinstance(tree, AxisMetadata):
        return False
    return not hasattr(type(tree).add_axis, "keeps_value") or changes_value(tree._contents())


def add_axis(tree: T, index: int | None, params: Mapping[Any, Any]) -> T:
    """Adds an axis to the boxes in `tree` after their values gained it; `index` None adds none."""
    if index is None or not has_boxes(tree):
        return tree
    named: T = map_axis_meta(lambda box: box.add_axis(index, params), tree)
    return named


def remove_axis(tree: T, index: int | None, params: Mapping[Any, Any]) -> T:
    """Removes an axis from the boxes in `tree` after their values lost it; None removes none."""
    if index is None or not has_boxes(tree):
        return tree
    named: T = map_axis_meta(lambda box: box.remove_axis(index, params), tree)
    return named
