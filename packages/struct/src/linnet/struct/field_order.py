"""Finds the field that keeps Python from making a dataclass.

A field without a default cannot follow one with a default. If the default is in a base class,
Python's error names the field but not the fix. The fixes differ: struct's dataclasses, linen's
modules and nnx's modules declare keyword-only fields differently. The way to find the field is the
same.
"""

from __future__ import annotations

import dataclasses
from typing import Any


def required_after_default(cls: type) -> str | None:
    """The first positional field without a default that follows one with a default.

    Args:
      cls: a class for which `dataclasses.dataclass` failed, after it had collected the fields.

    Returns:
      The field's name, or None if the order of the fields was not the cause.

    >>> import dataclasses
    >>> class Model:
    ...     width: int = 3
    ...     depth: int
    >>> try:
    ...     dataclasses.dataclass(Model)
    ... except TypeError:
    ...     print(required_after_default(Model))
    depth
    """
    fields: dict[str, dataclasses.Field[Any]] = vars(cls).get("__dataclass_fields__", {})
    optional = False
    for name, field in fields.items():
        if field.init and not field.kw_only:
            required = field.default is field.default_factory is dataclasses.MISSING
            if required and optional:
                return name
            optional = not required
    return None
