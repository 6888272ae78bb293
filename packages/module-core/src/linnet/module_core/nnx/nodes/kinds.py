"""The kind of a value, for a walk over a structure.

The kind depends on the value's class. Objects and variables declare it by a class attribute
`_nnx_kind`, so that this file, the lowest layer of nnx, depends on neither. Only kinds that cannot
change are cached: a module remains a module, and a class registered as a pytree remains one. A
class that jax doesn't know may become a pytree with the next call to
`jax.tree_util.register_pytree_node`, so jax is asked each time, except for Python's scalars and
functions.

Classes are cached by identity, which takes one lookup at C speed, and dropped when they are freed.
"""

from __future__ import annotations

import types
import weakref
from typing import TypeVar

import jax
import numpy as np

T = TypeVar("T")

OBJECT, VARIABLE, LIST, DICT, TREE, ARRAY, STATIC, REFERENCE = range(8)

known_kinds: dict[int, int] = {}
"""The kind of each class, by the class's id; for walks, which look it up for every value."""

_own: dict[int, bool] = {}  # classes for which only jax's registry remains to be checked
_alive: dict[int, weakref.ref[type]] = {}

_NEVER_TREES = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, type(...), slice, type),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc),
    }
)


def kind_of(value: object) -> int:
    """The kind of a value."""
    cls = type(value)
    kind = known_kinds.get(id(cls))
    if kind is None:
        kind = _work_out_kind(value, cls)
    return kind


def forget_kind(cls: type) -> None:
    """Drops the cached kind of a class."""
    known_kinds.pop(id(cls), None)
    _own.pop(id(cls), None)


_data_types: weakref.WeakSet[type] = weakref.WeakSet()


def register_data_type(type_: T, /) -> T:
    """Registers a class whose instances are data wherever they are attributes; a decorator.

    The instances are leaves: transforms pass them to jax, which must be able to handle them.
    """
    _data_types.add(type_)  # type: ignore[arg-type]
    forget_kind(type_)  # type: ignore[arg-type]
    return type_


def is_leaf_of_data(value: object) -> bool:
    """Whether a value's type makes it a leaf of a module's data."""
    # `isinstance`, since a tracer is an instance of jax.Array, but its class isn't a subclass.
    known = isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct))
    return known or type(value) in _data_types


def _work_out_kind(value: object, cls: type) -> int:
    if id(cls) not in _own:
        for base in cls.__mro__:  # not `getattr`, which a metaclass may override
            if "_nnx_kind" in base.__dict__:
                return _remember(cls, base.__dict__["_nnx_kind"])
        if is_leaf_of_data(value):
            return _remember(cls, ARRAY)
        if cls is list or cls is dict:
            return _remember(cls, LIST if cls is list else DICT)
        if cls in _NEVER_TREES:
            return _remember(cls, STATIC)
        if not isinstance(value, jax.core.Tracer):  # a tracer's class doesn't determine its kind
            _watch(cls)
            _own[id(cls)] = True
    if jax.tree_util.all_leaves([value]):
        return STATIC
    return _remember(cls, TREE)


def _remember(cls: type, kind: int) -> int:
    _watch(cls)
    known_kinds[id(cls)] = kind
    return kind


def _watch(cls: type) -> None:
    key = id(cls)
    if key not in _alive:

        def forget(_: object) -> None:
            for found in (known_kinds, _own, _alive):
                found.pop(key, None)

        _alive[key] = weakref.ref(cls, forget)
