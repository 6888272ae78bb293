"""Converts nnx objects to JSON and back: attributes as they are, variables without values."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .place import Convert, Place


def _nnx() -> ModuleType | None:
    return sys.modules.get("linnet.module_core.nnx")


def is_object(value: object) -> bool:
    """Whether a value is an nnx object or a variable of one."""
    nnx = _nnx()
    return nnx is not None and isinstance(value, (nnx.Pytree, nnx.Variable))


def is_object_class(cls: object) -> bool:
    """Whether a value is a class of nnx objects or variables."""
    nnx = _nnx()
    return nnx is not None and isinstance(cls, type) and issubclass(cls, (nnx.Pytree, nnx.Variable))


def to_config(value: Any, where: Place, to_json: Convert) -> dict[str, Any]:
    """The attributes of an object, or the value and the metadata of a variable."""
    nnx = _nnx()
    assert nnx is not None
    if isinstance(value, nnx.Variable):
        return {
            "attributes": {"value": to_json(value.raw_value, where.weights())},
            "metadata": to_json(value.get_metadata(), where.field("metadata").constants()),
        }
    attributes: dict[str, Any] = {}
    marks = value.__getstate__().get("_marks", {})
    for name, attribute in vars(value).items():
        place = where.field(name)
        # Arrays outside variables are state as well, unless marked with nnx.static.
        place = place.constants() if marks.get(name) is False else place.weights()
        attributes[name] = to_json(attribute, place)
    return {"attributes": attributes, "marks": dict(marks)}


def from_config(cls: type[Any], stored: dict[str, Any], where: Place, from_json: Convert) -> object:
    """An object of a class with the stored attributes; its constructor doesn't run."""
    nnx = _nnx()
    assert nnx is not None
    if issubclass(cls, nnx.Variable):
        value = from_json(stored["attributes"]["value"], where.weights())
        variable = cls(value, **from_json(stored["metadata"], where.field("metadata")))
        where.made[stored["id"]] = variable
        return variable
    made: Any = cls.__new__(cls)  # type: ignore[call-overload]
    where.made[stored["id"]] = made
    state = {
        name: from_json(attribute, where.field(name).weights())
        for name, attribute in stored["attributes"].items()
    }
    if stored.get("marks"):
        state["_marks"] = dict(stored["marks"])
    made.__setstate__(state)
    return made
