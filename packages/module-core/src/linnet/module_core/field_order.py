"""The error for a required field that follows an optional one, with ways to fix it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from linnet.struct.field_order import required_after_default

from .errors import ArgumentTypeError

C = TypeVar("C", bound=type)


def made_dataclass(cls: C, make: Callable[[C], C], how: str) -> C:
    """Applies `make` to a class, with a better error for an invalid order of fields.

    Args:
      cls: the class.
      make: `dataclasses.dataclass` with options.
      how: the line of code that makes all fields of the class keyword-only.

    Raises:
      ArgumentTypeError: (a TypeError) a positional field without a default follows a field with a
        default, which may be inherited.
    """
    try:
        return make(cls)
    except TypeError as error:
        if field := required_after_default(cls):
            raise ArgumentTypeError(
                f"{cls.__name__}: {error}.",
                hint=f"Give {field} a default, or make the fields keyword-only: {how}.",
            ) from error
        raise
