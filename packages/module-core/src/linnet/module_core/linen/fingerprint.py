"""Everything except arrays that a compiled method depends on, as comparable values.

Two calls share a program if their fingerprints are equal. A fingerprint therefore contains exactly
what a trace can see of a field: numbers with their type (a kernel times 2 differs from a kernel
times 2.0); the contents of a partial, a container or a dataclass, but not its identity; and, for a
type with registered state-dict functions, the state dict. Arrays are compared by contents, large
ones by identity. Modules are compared by class, fields, and place below the lifted scopes, but not
by their path in the model, so that equal siblings share a program.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linnet.struct import FrozenDict
from linnet.struct.serialization import is_serializable, to_state_dict

_BY_VALUE = frozenset((int, bool, str, bytes, NoneType))
_BY_IDENTITY = frozenset((type, np.dtype, FunctionType, BuiltinFunctionType))
_LARGE = 4096  # elements; comparing more costs more than it could save


class Unknown(Exception):
    """A value has no fingerprint that would distinguish it from other values."""


def fingerprint(value: object, of_special: Callable[[Any], Hashable | None]) -> Hashable:
    """A hashable value that is equal for values that a trace can't tell apart.

    Args:
      value: a field of a module.
      of_special: returns the fingerprint of a module or a variable, and None for anything else.

    Raises:
      Unknown: the value has no fingerprint.
    """
    kind = type(value)
    if kind in _BY_VALUE:
        return kind, value
    if kind in _BY_IDENTITY:
        return value
    if kind is float or kind is complex:
        return kind, repr(value)  # not by ==, because of 0.0 and -0.0, and because of nan
    special = of_special(value)
    if special is not None:
        return special

    def of(items: Iterable[Any]) -> tuple[Hashable, ...]:
        return tuple(fingerprint(item, of_special) for item in items)

    if isinstance(value, list | tuple):
        return kind, of(value)
    if isinstance(value, dict | FrozenDict):
        return kind, of(value.keys()), of(value.values())
    if isinstance(value, set | frozenset):
        return kind, frozenset(of(value))
    if isinstance(value, functools.partial):
        return kind, *of((value.func, value.args, value.keywords))
    if isinstance(value, MethodType):
        return kind, *of((value.__func__, value.__self__))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return kind, _of_array(value)
    if isinstance(value, enum.Enum | type):
        return kind, value
    if dataclasses.is_dataclass(value):
        return kind, of(dict(_attributes(value)).items())
    if is_serializable(kind):
        return kind, *of((to_state_dict(value),))
    if not jax.tree_util.all_leaves((value,)):
        leaves, treedef = jax.tree.flatten(value)
        return kind, _hashable(treedef), of(leaves)
    return kind, _hashable(value)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from ((f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value))
    yield from getattr(value, "__dict__", {}).items()


def _hashable(value: object) -> object:
    try:
        hash(value)
    except TypeError:
        raise Unknown from None
    return value


def _of_array(array: jax.Array | np.ndarray[Any, Any] | np.generic) -> Hashable:
    if isinstance(array, jax.core.Tracer) or array.dtype == object:
        raise Unknown
    layout: tuple[Any, ...] = (array.shape, array.dtype)
    if isinstance(array, jax.Array):
        extended = jnp.issubdtype(array.dtype, jax.dtypes.extended)
        if extended or array.size > _LARGE or not array.is_fully_addressable:
            return _Same(array)
        layout = (*layout, array.weak_type, array.sharding)
    return *layout, np.asarray(array).tobytes()


class _Same:
    """Equal only for the same object, which is kept alive."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)
