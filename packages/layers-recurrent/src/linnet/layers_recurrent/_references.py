"""Functions as fields, in pickles and copies.

`pickle` stores a function by name, except for a jitted one: it reduces that to the wrapped
function, whose name now refers to the jitted one. `jax.nn.sigmoid` is such a function. Here, every
function that can be found under its name is stored by name.
"""

from __future__ import annotations

import importlib
from functools import reduce
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Reference(NamedTuple):
    """The place of an object: its module and name."""

    module: str
    name: str

    def found(self) -> Any:
        """The object."""
        return reduce(getattr, self.name.split("."), importlib.import_module(self.module))


def referred(value: T) -> T | Reference:
    """A `Reference` to `value` if it is a wrapped function that can be found, otherwise `value`."""
    where = Reference(getattr(value, "__module__", ""), getattr(value, "__qualname__", ""))
    if not callable(value) or isinstance(value, type | FunctionType) or not all(where):
        return value
    try:
        return where if where.found() is value else value
    except (ImportError, AttributeError):
        return value


def resolved(value: T | Reference) -> T:
    """The inverse of `referred`."""
    return value.found() if isinstance(value, Reference) else value
