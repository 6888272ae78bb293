"""The names of `flax.linen.module`."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from linnet.flax.ids import FlaxId as FlaxId
from linnet.flax.ids import uuid as uuid
from linnet.linen.module import *  # noqa: F403
from linnet.module_core.config import config as config
from linnet.module_core.linen.context import context as _context  # noqa: F401  (qwix)

Args = tuple[Any]
Kwargs = dict[str, Any]
NextGetter = Callable[..., Any]


class SetupState(IntEnum):
    """Whether a module's `setup` has run; Flax's pickles refer to this class."""

    NEW = 0
    TRANSFORMED = 1
    DONE = 2


class _ModuleInternalState:
    """The state that Flax pickles with a module; nothing in it is used."""


def capture_call_intermediates(_: object, method_name: str) -> bool:
    """The filter of `capture_intermediates=True`: the outputs of `__call__` alone."""
    return method_name == "__call__"


def tuple_init() -> tuple[()]:
    """The default initial value of `sow`."""
    return ()


def tuple_reduce(xs: tuple[object, ...], x: object) -> tuple[object, ...]:
    """Appends a value, as `sow` does by default."""
    return (*xs, x)
