"""Marks an attribute as data or static, where its type doesn't decide.

Transforms see data: variables, arrays, modules, and containers that hold any of these. Everything
else is static: it is part of the program. This is determined from the values each time the
structure of a module is taken, so an attribute may change from one to the other, and lists and
dicts may be edited. `nnx.data(x)` makes a value data that would be static, such as a Python number
that should be traced. `nnx.static(x)` makes the attribute static for good: assigning data to it
raises an error, because transforms could not see the data. In a container that is marked as data,
each item is classified separately: functions between the layers of a list stay static.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any, TypeVar, overload

from ..._compat import own_annotations
from .contents import data_leaves, holds_data

T = TypeVar("T")
_MISSING: Any = object()

_DATA = "nnx.data"
_STATIC = "nnx.static"

Data = Annotated[T, _DATA]
"""Annotation for a data attribute: `weights: nnx.Data[list[jax.Array]]`."""

Static = Annotated[T, _STATIC]
"""Annotation for a static attribute, which never holds data: `name: nnx.Static[str]`."""


class Marked:
    """A value to be assigned to an attribute, with the user's mark: data or static."""

    __slots__ = ("is_data", "value")

    def __init__(self, value: object, is_data: bool) -> None:
        self.value = value
        self.is_data = is_data


@overload
def data(value: T, /) -> T: ...
@overload
def data(*, default: T = ..., **kwargs: object) -> T: ...
def data(value: object = _MISSING, /, **kwargs: object) -> object:
    """Makes an attribute data: `self.scale = nnx.data(1.0)`, or `scale: float = nnx.data()`.

    Args:
      value: the value to assign; omitted in the body of an `nnx.dataclass`.
      **kwargs: options of `dataclasses.field`.
    """
    return _mark(value, True, kwargs)


@overload
def static(value: T, /) -> T: ...
@overload
def static(*, default: T = ..., **kwargs: object) -> T: ...
def static(value: object = _MISSING, /, **kwargs: object) -> object:
    """Makes an attribute static, so that it can't hold data: `self.name = nnx.static(name)`.

    Args:
      value: the value to assign; omitted in the body of an `nnx.dataclass`.
      **kwargs: options of `dataclasses.field`.
    """
    return _mark(value, False, kwargs)


def _mark(value: object, is_data: bool, kwargs: dict[str, Any]) -> object:
    if value is _MISSING or kwargs:
        metadata = {**kwargs.pop("metadata", {}), _DATA: is_data}
        if value is not _MISSING:
            kwargs.setdefault("default", value)
        return dataclasses.field(metadata=metadata, **kwargs)
    return Marked(value, is_data)


def declared_marks(cls: type) -> dict[str, bool]:
    """The marks from the annotations and dataclass fields of a class and its bases."""
    found: dict[str, bool] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in own_annotations(base).items():
            if isinstance(annotation, typing.ForwardRef):  # has a name that isn't defined yet
                annotation = annotation.__forward_arg__
            if isinstance(annotation, str):  # under `from __future__ import annotations`
                word = annotation.split("[")[0].rsplit(".", 1)[-1]
                if "[" in annotation and word in ("Data", "Static"):
                    found[name] = word == "Data"
            else:
                marks = getattr(annotation, "__metadata__", ())
                if _DATA in marks or _STATIC in marks:
                    found[name] = _DATA in marks
            default = base.__dict__.get(name)
            if isinstance(default, dataclasses.Field) and _DATA in default.metadata:
                found[name] = default.metadata[_DATA]
        fields = base.__dict__.get("__dataclass_fields__", {})
        for name, field in fields.items():
            if _DATA in field.metadata:
                found[name] = field.metadata[_DATA]
    return found


def is_data(value: object, /) -> bool:
    """Whether a value is data when assigned to an attribute.

    >>> import jax.numpy as jnp
    >>> is_data(jnp.ones(2)), is_data(3), is_data([1, 2]), is_data([jnp.ones(2)])
    (True, False, False, True)
    """
    if isinstance(value, Marked):
        return value.is_data
    return holds_data(value)


def has_data(value: object, /) -> list[Any]:
    """The data leaves of a value."""
    return data_leaves(value)
