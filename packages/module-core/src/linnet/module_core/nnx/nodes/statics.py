"""Keys for the static values of a module, equal only for values that behave alike in a program.

Compiled programs are cached by the static attributes that they were traced with. Python's equality
is too coarse for that: `1 == True == 1.0`, yet `x * 1` and `x * 1.0` differ in type. The key of a
value therefore includes its type, at every level of nesting; a value that is not hashable, and not
a plain container or dataclass either, is identified by `id`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Hashable
from typing import Any

# Equal values of these types behave alike, and edits don't change which values are equal.
_SIMPLE = frozenset(
    {
        *(str, bytes, int, bool, type(None), type(...), complex),
        *(type, types.FunctionType, types.BuiltinFunctionType),
    }
)


class Identity:
    """A wrapper that compares its value by identity."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return object.__hash__(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def static_key(value: Any) -> Hashable:
    """A hashable key for `value`; equal keys mean that the values behave alike."""
    kind = type(value)
    if kind in _SIMPLE:
        return (kind, value)
    if kind is float:
        return (kind, value.hex())  # distinguishes 0.0 from -0.0, and equates nan with itself
    if isinstance(value, tuple):
        return (kind, *map(static_key, value))
    if kind is list:
        return (list, *map(static_key, value))
    if kind is dict:
        return (dict, *((static_key(k), static_key(v)) for k, v in value.items()))
    if kind in (set, frozenset):
        return (kind, frozenset(map(static_key, value)))
    if kind is functools.partial:
        return (kind, static_key(value.func), static_key(value.args), static_key(value.keywords))
    if dataclasses.is_dataclass(kind) and kind.__hash__ is None:
        fields = vars(value) if hasattr(value, "__dict__") else {}
        return (kind, *((name, static_key(v)) for name, v in fields.items()))
    try:
        hash(value)
    except TypeError:
        return Identity(value)
    return (kind, value)


def can_change(value: object) -> bool:
    """Whether a static value may be edited in place, so its key must be recomputed."""
    kind = type(value)
    if kind in _SIMPLE or kind is float:
        return False
    if isinstance(value, tuple):
        return any(map(can_change, value))
    return kind in (list, dict, set) or (
        dataclasses.is_dataclass(kind) and kind.__hash__ is None and not isinstance(value, type)
    )
