"""Traversals: places in nested data whose values can be read, or replaced in a copy.

The idea: a traversal is an object with two methods, `iterate` (the values at the places) and
`update` (a copy with a function applied there). Traversals compose, giving the places of the second
within those of the first. So `t_identity["layers"].each().kernel` looks like an access, and can
also be used to write.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax

from linnet.struct.frozen_dict import FrozenDict

T = TypeVar("T")

Fn = Callable[[Any], Any]


class Traversal(abc.ABC):
    """Places in nested data.

    Attributes and items of a traversal are traversals of that attribute or item of the values at
    its places.

    >>> from linnet.struct.traverse_util import t_identity
    >>> first = t_identity["layers"].each()[0]
    >>> data = {"layers": [(1, 2), (3, 4)]}
    >>> list(first.iterate(data))
    [1, 3]
    >>> first.update(lambda x: -x, data)
    {'layers': [(-1, 2), (-3, 4)]}
    """

    @abc.abstractmethod
    def iterate(self, inputs: object) -> Iterator[Any]:
        """The values at the places.

        Args:
          inputs: nested data.
        """

    @abc.abstractmethod
    def update(self, fn: Fn, inputs: T) -> T:
        """A copy of the data with a function applied at the places.

        Args:
          fn: takes the value at a place and returns the new one.
          inputs: nested data; it is not changed.
        """

    def set(self, values: Iterable[Any], inputs: T) -> T:
        """A copy of the data with new values at the places.

        Args:
          values: one for each place, in the order of `iterate`.
          inputs: nested data; it is not changed.

        Raises:
          ValueError: there are more places than values, or fewer.

        >>> from linnet.struct.traverse_util import t_identity
        >>> t_identity.each().set([7, 8], (1, 2))
        (7, 8)
        """
        given = list(values)
        left = iter(given)
        used = 0

        def take(_: object) -> object:
            nonlocal used
            used += 1
            return next(left, None)

        updated = self.update(take, inputs)
        if used != len(given):
            raise ValueError(
                f"Traversal.set: {len(given)} value{'s' * (len(given) != 1)} for"
                f" {used} place{'s' * (used != 1)}."
            )
        return updated

    def compose(self, other: Traversal) -> Traversal:
        """The places of `other` within the places of this one."""
        return TraverseCompose(self, other)

    def merge(self, *traversals: Traversal) -> Traversal:
        """The places of several traversals within the places of this one."""
        return self.compose(TraverseMerge(*traversals))

    def each(self) -> Traversal:
        """The items of a list or tuple, or the values of a dict."""
        return self.compose(TraverseEach())

    def tree(self) -> Traversal:
        """The leaves of a pytree."""
        return self.compose(TraverseTree())

    def filter(self, fn: Fn) -> Traversal:
        """The places whose value passes `fn`."""
        return self.compose(TraverseFilter(fn))

    def __getattr__(self, attr: str) -> Traversal:
        # `copy`, `pickle` and `inspect` look up methods that do not exist.
        if attr.startswith("__") and attr.endswith("__"):
            raise AttributeError(attr)
        return self.compose(TraverseAttr(attr))

    def __getitem__(self, key: object) -> Traversal:
        return self.compose(TraverseItem(key))

    # With `__getitem__`, it would otherwise be treated as an infinite sequence.
    __iter__ = None


class TraverseId(Traversal):
    """The data itself."""

    def iterate(self, inputs: object) -> Iterator[Any]:
        yield inputs

    def update(self, fn: Fn, inputs: T) -> T:
        new: T = fn(inputs)
        return new


class TraverseCompose(Traversal):
    """The places of `y` within those of `x`."""

    def __init__(self, x: Traversal, y: Traversal) -> None:
        self._x = x
        self._y = y

    def iterate(self, inputs: object) -> Iterator[Any]:
        for x in self._x.iterate(inputs):
            yield from self._y.iterate(x)

    def update(self, fn: Fn, inputs: T) -> T:
        return self._x.update(lambda x: self._y.update(fn, x), inputs)


class TraverseMerge(Traversal):
    """The places of several traversals in order; a place in two of them is updated twice."""

    def __init__(self, *traversals: Traversal) -> None:
        self._traversals = traversals

    def iterate(self, inputs: object) -> Iterator[Any]:
        for traversal in self._traversals:
            yield from traversal.iterate(inputs)

    def update(self, fn: Fn, inputs: T) -> T:
        for traversal in self._traversals:
            inputs = traversal.update(fn, inputs)
        return inputs


class TraverseFilter(Traversal):
    """The data itself if `fn` returns true for it."""

    def __init__(self, fn: Fn) -> None:
        self._fn = fn

    def iterate(self, inputs: object) -> Iterator[Any]:
        if self._fn(inputs):
            yield inputs

    def update(self, fn: Fn, inputs: T) -> T:
        new: T = fn(inputs) if self._fn(inputs) else inputs
        return new


class TraverseTree(Traversal):
    """The leaves of a pytree."""

    def iterate(self, inputs: object) -> Iterator[Any]:
        yield from jax.tree.leaves(inputs)

    def update(self, fn: Fn, inputs: T) -> T:
        new: T = jax.tree.map(fn, inputs)
        return new


class TraverseEach(Traversal):
    """The items of a list or tuple, or the values of a dict."""

    def iterate(self, inputs: Any) -> Iterator[Any]:
        yield from inputs.values() if _entries(inputs) else inputs

    def update(self, fn: Fn, inputs: Any) -> Any:
        if _entries(inputs):
            return _with_items(inputs, {key: fn(value) for key, value in inputs.items()})
        return _rebuilt(inputs, [fn(item) for item in inputs])


def _entries(inputs: object) -> bool:
    """Whether the entries of `inputs` have keys; raises an error if it has no entries."""
    if not isinstance(inputs, list | tuple | dict | FrozenDict):
        raise ValueError(
            "TraverseEach: only the entries of a list, tuple, dict or FrozenDict can be traversed, "
            f"not those of {type(inputs).__name__}."
        )
    return isinstance(inputs, dict | FrozenDict)


class TraverseItem(Traversal):
    """The item with a key or index; for a slice of a tuple, each item separately.

    A slice of anything else, such as a list or an array, is one place, as in Flax.
    """

    def __init__(self, key: Any) -> None:
        self._key = key

    def iterate(self, inputs: Any) -> Iterator[Any]:
        if isinstance(self._key, slice) and isinstance(inputs, tuple):
            yield from inputs[self._key]
        else:
            yield inputs[self._key]

    def update(self, fn: Fn, inputs: Any) -> Any:
        if isinstance(self._key, slice) and isinstance(inputs, tuple):
            items = list(inputs)
            for i in range(len(items))[self._key]:
                items[i] = fn(items[i])
            return _rebuilt(inputs, items)
        value = fn(inputs[self._key])
        if isinstance(inputs, dict | FrozenDict):
            return _with_items(inputs, {self._key: value})
        if isinstance(inputs, tuple):
            items = list(inputs)
            items[self._key] = value
            return _rebuilt(inputs, items)
        if isinstance(inputs, jax.Array):
            return inputs.at[self._key].set(value)
        if not hasattr(inputs, "__setitem__"):
            raise TypeError(
                f"TraverseItem: item {self._key!r} of {type(inputs).__name__} cannot be replaced."
            )
        updated = copy.copy(inputs)
        updated[self._key] = value
        return updated


class TraverseAttr(Traversal):
    """The attribute with a name."""

    def __init__(self, attr: str) -> None:
        self._attr = attr

    def iterate(self, inputs: object) -> Iterator[Any]:
        yield getattr(inputs, self._attr)

    def update(self, fn: Fn, inputs: T) -> T:
        value = fn(getattr(inputs, self._attr))
        if dataclasses.is_dataclass(inputs) and not isinstance(inputs, type):
            return dataclasses.replace(inputs, **{self._attr: value})
        if isinstance(inputs, tuple) and hasattr(inputs, "_fields"):
            named: Any = inputs
            replaced: T = named._replace(**{self._attr: value})
            return replaced
        updated = copy.copy(inputs)
        setattr(updated, self._attr, value)
        return updated


def _with_items(inputs: dict[Any, Any] | FrozenDict[Any, Any], items: dict[Any, Any]) -> object:
    if isinstance(inputs, FrozenDict):
        return inputs.copy(items)
    updated = copy.copy(inputs)
    updated.update(items)
    return updated


def _rebuilt(inputs: Any, items: list[Any]) -> object:
    """A list or tuple of the same class with other items."""
    return type(inputs)(*items) if hasattr(inputs, "_fields") else type(inputs)(items)


t_identity = TraverseId()
"""The data itself, from which every traversal is built."""
