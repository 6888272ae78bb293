"""A key for what a module holds beside arrays: equal for values that no program can tell apart.

Compiled programs are remembered by the static attributes that they were traced with. Python's own
equality is too coarse for that: `1 == True == 1.0`, yet `x * 1` and `x * 1.0` differ in type. The
key of a value is therefore its type beside it, all the way down; what cannot be hashed and isn't a
plain container or a dataclass is known by its identity.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Hashable
from typing import Any

# Equal values of these types behave alike, and none can be edited to become another one.
_SIMPLE = frozenset(
    {
        *(str, bytes, int, bool, type(None), type(...), complex),
        *(type, types.FunctionType, types.BuiltinFunctionType),
    }
)


class Identity:
    """A value that is equal to itself alone."""

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
    """A hashable that stands for `value`; equal keys mean values that behave alike."""
    kind = type(value)
    if kind in _SIMPLE:
        return (kind, value)
    if kind is float:
        return (kind, value.hex())  # tells 0.0 from -0.0, and finds nan equal to itself
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
    """Whether a static value may be edited in place, so that its key must be made anew."""
    kind = type(value)
    if kind in _SIMPLE or kind is float:
        return False
    if isinstance(value, tuple):
        return any(map(can_change, value))
    return kind in (list, dict, set) or (
        dataclasses.is_dataclass(kind) and kind.__hash__ is None and not isinstance(value, type)
    )
