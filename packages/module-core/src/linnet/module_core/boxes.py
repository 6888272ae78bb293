"""Values that carry metadata in a box.

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


class AxisMetadata(abc.ABC, Generic[T]):
    """Base of all boxes.

    A subclass is a pytree node; it decides what becomes of its metadata when a transform adds an
    axis to the value or removes one.
    """

    @abc.abstractmethod
    def unbox(self) -> Any:
        """The value in the box."""

    def _contents(self) -> Any:
        """The value as it is stored; `unbox` may transform it."""
        return self.unbox()

    @abc.abstractmethod
    def replace_boxed(self, value: object) -> AxisMetadata[Any]:
        """The same box around `value`."""

    @abc.abstractmethod
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[T]:
        """The box for a value that has a new axis at `index`; `params` describe that axis."""

    @abc.abstractmethod
    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[T]:
        """The box for a value that has lost the axis at `index`; `params` describe that axis."""


def is_axis_metadata(val: object) -> bool:
    """Whether `val` is a box."""
    return isinstance(val, AxisMetadata)


def map_axis_meta(fn: Callable[[AxisMetadata[Any]], Any], tree: object) -> Any:
    """Applies `fn` to every box in `tree`, leaving all else as it is."""

    def apply(leaf: object) -> Any:
        return fn(leaf) if isinstance(leaf, AxisMetadata) else leaf

    return jax.tree.map(apply, tree, is_leaf=is_axis_metadata)


def has_boxes(tree: object) -> bool:
    """Whether any value in `tree` is in a box."""
    if isinstance(tree, _BARE):
        return False
    return any(isinstance(x, AxisMetadata) for x in jax.tree.leaves(tree, is_leaf=is_axis_metadata))


# A variable is nearly always an array: not worth a walk.
_BARE = (jax.Array, np.ndarray, int, float)


def unbox(tree: object) -> Any:
    """Takes every value in `tree` out of its boxes, nested ones included."""
    if isinstance(tree, _BARE):
        return tree
    return map_axis_meta(lambda box: unbox(box.unbox()), tree)


def contents(tree: object) -> Any:
    """`unbox` without the box's own transformation of the value, say to look at shapes."""
    if isinstance(tree, _BARE):
        return tree
    return map_axis_meta(lambda box: contents(box._contents()), tree)


def replace_boxed(tree: object, updates: object) -> Any:
    """Puts the values of `updates` into the boxes of `tree`."""

    def put(box: object, value: object) -> Any:
        if isinstance(box, AxisMetadata):
            return box.replace_boxed(replace_boxed(box._contents(), value))
        return value

    return jax.tree.map(put, tree, updates, is_leaf=is_axis_metadata)


def add_axis(tree: Any, index: int | None, params: Mapping[Any, Any]) -> Any:
    """Tells the boxes in `tree` that their values have a new axis, or with None that they don't."""
    if index is None or not has_boxes(tree):
        return tree
    return map_axis_meta(lambda box: box.add_axis(index, params), tree)


def remove_axis(tree: Any, index: int | None, params: Mapping[Any, Any]) -> Any:
    """Tells the boxes in `tree` that an axis of their values is gone, or with None that none is."""
    if index is None or not has_boxes(tree):
        return tree
    return map_axis_meta(lambda box: box.remove_axis(index, params), tree)
