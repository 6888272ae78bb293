"""Values that carry metadata in a box.

A box is a pytree node around one value. Variables are stored boxed, and read unboxed: a layer never
sees the box, a sharding rule or a transform does. `AxisMetadata` is what a box has to offer.
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

    A subclass is a pytree node; it says what becomes of its metadata when a transform adds an axis
    to the value or takes one away.
    """

    @abc.abstractmethod
    def unbox(self) -> Any:
        """The value in the box."""

    @abc.abstractmethod
    def replace_boxed(self, value: Any) -> AxisMetadata[Any]:
        """The same box around `value`."""

    @abc.abstractmethod
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[T]:
        """The box for a value that has a new axis at `index`; `params` describe that axis."""

    @abc.abstractmethod
    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[T]:
        """The box for a value that has lost the axis at `index`; `params` describe that axis."""


def is_axis_metadata(value: Any) -> bool:
    """Whether `value` is a box."""
    return isinstance(value, AxisMetadata)


def map_axis_meta(fn: Callable[[AxisMetadata[Any]], Any], tree: Any) -> Any:
    """Applies `fn` to every box in `tree`, leaving all else as it is."""

    def apply(leaf: Any) -> Any:
        return fn(leaf) if isinstance(leaf, AxisMetadata) else leaf

    return jax.tree.map(apply, tree, is_leaf=is_axis_metadata)


def has_boxes(tree: Any) -> bool:
    """Whether any value in `tree` is in a box."""
    if isinstance(tree, _BARE):
        return False
    return any(isinstance(x, AxisMetadata) for x in jax.tree.leaves(tree, is_leaf=is_axis_metadata))


# What a variable nearly always is: not worth a walk.
_BARE = (jax.Array, np.ndarray, int, float)


def unbox(tree: Any) -> Any:
    """Takes every value in `tree` out of its boxes, one in another included."""
    if isinstance(tree, _BARE):
        return tree
    return map_axis_meta(lambda box: unbox(box.unbox()), tree)


def replace_boxed(tree: Any, updates: Any) -> Any:
    """Puts the values of `updates` into the boxes of `tree`."""

    def put(box: Any, value: Any) -> Any:
        if isinstance(box, AxisMetadata):
            return box.replace_boxed(replace_boxed(box.unbox(), value))
        return value

    return jax.tree.map(put, tree, updates, is_leaf=is_axis_metadata)
