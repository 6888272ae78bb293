"""Which kind of thing a value is, for a walk over a structure.

The kind is a matter of the value's class. Objects and variables say it themselves, by a class
attribute `_nnx_kind`, so that this file knows neither: everything else of nnx is above it. What is
remembered of a class is what cannot change: a module stays a module, and a class that jax knows as
a tree stays one. That jax does not know a class may change with the next call of
`jax.tree_util.register_pytree_node`, so this is asked each time, save of Python's own scalars and
functions.

Classes are remembered by identity, which takes one look-up at C speed, and forgotten when they die.
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
"""The kind of a class, by its identity; for walks, which ask it of every value."""

_own: dict[int, bool] = {}  # classes of which only jax's registry remains to be asked
_alive: dict[int, weakref.ref[type]] = {}

_NEVER_TREES = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, type(...), slice, type),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc),
    }
)


def kind_of(value: object) -> int:
    """Which of the kinds a value is."""
    cls = type(value)
    kind = known_kinds.get(id(cls))
    if kind is None:
        kind = _work_out_kind(value, cls)
    return kind


def forget_kind(cls: type) -> None:
    """Makes a class be looked at again."""
    known_kinds.pop(id(cls), None)
    _own.pop(id(cls), None)


_data_types: weakref.WeakSet[type] = weakref.WeakSet()


def register_data_type(type_: T, /) -> T:
    """Makes instances of a class data wherever they are attributes; a decorator.

    They are leaves: transforms pass them to jax, which must know what to do with them.
    """
    _data_types.add(type_)  # type: ignore[arg-type]
    forget_kind(type_)  # type: ignore[arg-type]
    return type_


def is_leaf_of_data(value: object) -> bool:
    """Whether a value is by its type a leaf of a module's data."""
    # By instance: the class of a tracer isn't a subclass of jax.Array, but the tracer is an
    # instance.
    known = isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct))
    return known or type(value) in _data_types


def _work_out_kind(value: object, cls: type) -> int:
    if id(cls) not in _own:
        for base in cls.__mro__:  # not `getattr`, which a metaclass may answer
            if "_nnx_kind" in base.__dict__:
                return _remember(cls, base.__dict__["_nnx_kind"])
        if is_leaf_of_data(value):
            return _remember(cls, ARRAY)
        if cls is list or cls is dict:
            return _remember(cls, LIST if cls is list else DICT)
        if cls in _NEVER_TREES:
            return _remember(cls, STATIC)
        if not isinstance(value, jax.core.Tracer):  # whose class does not say what it stands for
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
