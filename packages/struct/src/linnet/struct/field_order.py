"""Finds the field for which Python refuses to make a dataclass.

A field without a default cannot follow one with a default. When the default is a base's, Python's
error names the field but no way out. The ways out differ: struct's dataclasses, linen's modules and
nnx's each have their own line of code for keyword-only fields. Finding the field is the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any


def required_after_default(cls: type) -> str | None:
    """The first positional field without a default that follows one with a default.

    Args:
      cls: a class that `dataclasses.dataclass` has refused; it has collected the fields by then.

    Returns:
      The field's name, or None if their order is not what was refused.

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
