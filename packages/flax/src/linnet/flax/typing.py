"""The names of `flax.typing`: types for annotations, and small classes that hold values."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import jax

from linnet.module_core.typing import *  # noqa: F403
from linnet.module_core.typing import Key
from linnet.module_core.typing import __all__ as _all

__all__ = [
    *_all,
    "MISSING",
    "HashableMapping",
    "Leaf",
    "Missing",
    "PytreeDeque",
    "ShapeDtype",
    "has_shape_dtype",
    "is_key_like",
]

Leaf = Any
K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")


class Missing:
    """The class of `MISSING`."""


MISSING = Missing()
"""The default of arguments for which None is a valid value."""


class HashableMapping(Mapping[K, V], Hashable):
    """A mapping that can be hashed if its values can be.

    Args:
      mapping: the items to hold.
      copy: whether the mapping is copied.

    >>> len({HashableMapping({"a": 1}), HashableMapping({"a": 1})})
    1
    """

    def __init__(self, mapping: Mapping[K, V] | Iterable[tuple[K, V]], copy: bool = True) -> None:
        self._mapping = dict(mapping) if copy or not isinstance(mapping, Mapping) else mapping

    def __getitem__(self, key: K) -> V:
        return self._mapping[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashableMapping) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._mapping.items()))

    def __repr__(self) -> str:
        return repr(dict(self._mapping))


class PytreeDeque(deque[A]):
    """A deque that is a jax pytree."""


jax.tree_util.register_pytree_node(
    PytreeDeque, lambda d: (list(d), None), lambda _, items: PytreeDeque(items)
)


@runtime_checkable
class ShapeDtype(Protocol):
    """Anything that has a shape and a dtype."""

    shape: tuple[int, ...]
    dtype: Any


def has_shape_dtype(x: object) -> TypeGuard[ShapeDtype]:
    """Whether an object has a shape and a dtype."""
    return isinstance(x, ShapeDtype)


def is_key_like(x: object) -> TypeGuard[Key]:
    """Whether an object can be a key of a state: it can be hashed and compared."""
    return isinstance(x, Hashable) and hasattr(x, "__lt__")
