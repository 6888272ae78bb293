"""The contents of a single value: its attributes and children in order, its data and static parts.

A value is data if it is an object, a variable or an array, or a container with any of these; this
is checked each time, since containers may be edited. Objects and variables count as one leaf each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax

from .kinds import ARRAY, DICT, LIST, OBJECT, STATIC, TREE, VARIABLE, kind_of
from .statics import static_key


def one_level(tree: object) -> tuple[list[Any], Any, list[Any]]:
    """The children of a pytree node, its structure, and the children's keys in paths."""
    found, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    return [x for _, x in found], structure, [key_of(path[0]) for path, _ in found]


def key_of(entry: object) -> Any:
    """The name or index of an entry of a jax key path."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def attribute_names(obj: object) -> list[str]:
    """The names of an object's attributes, in the order of paths."""
    order = getattr(type(obj), "_attribute_order", None)
    if order is not None:
        return sorted(obj.__dict__, key=order)
    if "attr_priorities" in obj.__dict__ and hasattr(type(obj), "set_attr_priority"):
        priorities = obj.__dict__["attr_priorities"]  # an attribute of `bridge.Module`
        return sorted(obj.__dict__, key=lambda name: (priorities.get(name, 50), name))
    return sorted(obj.__dict__)


def sorted_keys(mapping: dict[Any, Any]) -> list[Any]:
    """The keys of a dict: sorted, or in insertion order if they cannot be sorted."""
    try:
        return sorted(mapping)
    except TypeError:
        return list(mapping)


def path_name(cls: type, name: str) -> str | int:
    """The path entry for the attribute `name` of an object of a class."""
    keys = getattr(cls, "_path_key", None)
    if keys is None:
        return name
    key: str | int = keys(name)
    return key


def iter_data(value: object) -> Iterator[Any]:
    """The data leaves of a value: variables and arrays; nodes count as one leaf each."""
    return _iter_data(value, {})


def _iter_data(value: Any, seen: dict[int, Any]) -> Iterator[Any]:
    kind = kind_of(value)
    if kind in (OBJECT, VARIABLE, ARRAY):
        yield value
    elif kind in (LIST, DICT, TREE):
        if kind != TREE:
            if id(value) in seen:
                return
            seen[id(value)] = value  # keeps the object alive, so that its id isn't reused
        children = (
            value if kind == LIST else value.values() if kind == DICT else one_level(value)[0]
        )
        for child in children:
            yield from _iter_data(child, seen)


def holds_data(value: object) -> bool:
    """Whether a value is data, or a container that holds data."""
    kind = kind_of(value)
    if kind in (OBJECT, VARIABLE, ARRAY):
        return True
    return kind != STATIC and next(iter_data(value), None) is not None


def data_leaves(value: object) -> list[Any]:
    """The data leaves of a value, as a list."""
    return list(iter_data(value))


def is_pure_data(value: Any) -> bool:
    """Whether a value holds only data."""
    kind = kind_of(value)
    if kind in (OBJECT, VARIABLE, ARRAY):
        return True
    if kind == STATIC:
        return value is None
    children = value if kind == LIST else value.values() if kind == DICT else one_level(value)[0]
    return all(map(is_pure_data, children))


class Skeleton:
    """A container with holes in place of its data, as part of a jax tree's structure."""

    __slots__ = ("key", "leaves", "structure")

    def __init__(self, structure: object, leaves: list[tuple[bool, Any]]) -> None:
        self.structure = structure
        self.leaves = leaves
        self.key = (structure, tuple((d, None if d else static_key(v)) for d, v in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Skeleton) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def fill(self, data: Iterable[Any]) -> object:
        values = iter(data)
        return jax.tree_util.tree_unflatten(
            self.structure, [next(values) if is_data else v for is_data, v in self.leaves]
        )


def split_static(value: object) -> tuple[list[Any], Skeleton]:
    """The data of a mixed container, and the container without the data."""
    leaves, structure = jax.tree_util.tree_flatten(
        value, is_leaf=lambda x: kind_of(x) in (OBJECT, VARIABLE)
    )
    marked = [(kind_of(x) in (OBJECT, VARIABLE, ARRAY), x) for x in leaves]
    return [x for d, x in marked if d], Skeleton(
        structure, [(d, None if d else x) for d, x in marked]
    )
