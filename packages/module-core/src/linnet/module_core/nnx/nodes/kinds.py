"""Which kind of thing a value is, for a walk over a structure.

The kind is a matter of the value's class. What is remembered of a class is what cannot change:
a module stays a module, and a class that jax knows as a tree stays one. That jax does not know a
class may change with the next call of `jax.tree_util.register_pytree_node`, so this is asked each
time, save of Python's own scalars and functions.

Classes are remembered by identity, which takes one look-up at C speed, and forgotten when they die.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

import jax
import numpy as np

from ..variable.variable import Variable
from .marks import is_leaf_of_data
from .pytree import Pytree

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


def kind_of(value: Any) -> int:
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


def _work_out_kind(value: Any, cls: type) -> int:
    if id(cls) not in _own:
        if issubclass(cls, Pytree):
            return _remember(cls, OBJECT)
        if issubclass(cls, Variable):
            return _remember(cls, VARIABLE)
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

        def forget(_: Any) -> None:
            for found in (known_kinds, _own, _alive):
                found.pop(key, None)

        _alive[key] = weakref.ref(cls, forget)
