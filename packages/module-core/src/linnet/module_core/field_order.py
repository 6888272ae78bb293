"""The error for a required field that follows an optional one, with its remedies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from .errors import ArgumentTypeError


def made_dataclass(cls: type, make: Callable[[type], Any], how: str) -> Any:
    """What `make` returns for a class, which `dataclasses` may refuse for the order of its fields.

    Args:
      cls: the class.
      make: `dataclasses.dataclass` with options.
      how: the line of code that makes all of the class's fields keyword-only.

    Raises:
      ArgumentTypeError: (a TypeError) a positional field without a default follows one with a
        default, which may be a base's.
    """
    try:
        return make(cls)
    except TypeError as error:
        if field := _required_after_default(cls):
            raise ArgumentTypeError(
                f"{cls.__name__}: {error}.",
                hint=f"Give {field} a default, or make the fields keyword-only: {how}.",
            ) from error
        raise


def _required_after_default(cls: type) -> str | None:
    # `dataclasses` has collected the fields of a class when it refuses their order.
    fields: dict[str, dataclasses.Field[Any]] = vars(cls).get("__dataclass_fields__", {})
    optional = False
    for name, field in fields.items():
        if field.init and not field.kw_only:
            required = field.default is field.default_factory is dataclasses.MISSING
            if required and optional:
                return name
            optional = not required
    return None
