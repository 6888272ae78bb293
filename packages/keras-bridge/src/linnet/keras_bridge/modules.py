"""Converts modules to JSON and back.

A linen module is a dataclass and is described by its fields. An nnx module is an object and is
described by its attributes; the configuration has the kind, shape and dtype of each variable, but
not its value, which is a weight. Loading the configuration makes the object without running its
constructor.

For a class that defines `get_config` and `from_config`, these are used instead.

Modules contain values, and values contain modules: the functions in this file get the conversion of
values as an argument. They are called by the functions in `values`, which other files use.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from linnet.module_core.errors import ArgumentError, describe

from . import names, objects
from .place import Convert, Place

_UNTOLD = ("parent", "name")


def _base(style: str) -> type[Any] | None:
    # If a style hasn't been imported, no value can belong to it.
    module = sys.modules.get(f"linnet.module_core.{style}")
    return getattr(module, "Module", None)


def is_linen(value: object) -> bool:
    """Whether a value is a linen module."""
    base = _base("linen")
    return base is not None and isinstance(value, base)


def is_nnx(value: object) -> bool:
    """Whether a value is an nnx module or another object of nnx, such as a stream of keys."""
    return objects.is_object(value)


def is_module(value: object) -> bool:
    """Whether a value is stored as a module."""
    return is_linen(value) or is_nnx(value)


def is_linen_class(cls: object) -> bool:
    """Whether a value is a class of linen modules."""
    base = _base("linen")
    return base is not None and isinstance(cls, type) and issubclass(cls, base)


def is_module_class(cls: object) -> bool:
    """Whether a value is a class of modules, of either style."""
    bases = tuple(b for b in (_base("linen"), _base("nnx")) if b is not None)
    return isinstance(cls, type) and issubclass(cls, bases)


def is_written_class(cls: object) -> bool:
    """Whether a value is a class whose instances are stored as modules."""
    return is_module_class(cls) or objects.is_object_class(cls)


def to_config(module: Any, where: Place, to_json: Convert) -> dict[str, Any]:
    """A module as JSON.

    Args:
      module: a linen module or an object of nnx.
      where: its place, for the error.
      to_json: writes the values of its fields.

    Raises:
      ArgumentError: its class can't be found by name, or a field can't be written.
    """
    if id(module) in where.seen:
        return {"shared": where.seen[id(module)]}
    cls = type(module)
    stored: dict[str, Any] = {"class": _class_of(cls, where), "id": where.number(module)}
    if callable(getattr(cls, "get_config", None)):
        return {**stored, "config": module.get_config()}
    if is_nnx(module):
        return {**stored, **objects.to_config(module, where, to_json)}
    if cls._own_init:
        raise ArgumentError(
            f"{where} is a {cls.__name__}, whose custom __init__ hides the arguments that it was "
            "created with.",
            hint="Make it a dataclass like other modules, or define get_config and from_config.",
        )
    fields = {}
    for field in dataclasses.fields(module):
        if field.init and field.name not in _UNTOLD:
            value = getattr(module, field.name)
            # A closure that is the field's default is left out: the class supplies it again.
            is_default = value is field.default
            if is_default and inspect.isfunction(value) and names.reference(value) is None:
                continue
            try:
                fields[field.name] = to_json(value, where.field(field.name))
            except ArgumentError:
                # The loading program has the class, and thereby a default that has no name.
                if not is_default:
                    raise
    stored["fields"] = fields
    if module.name is not None:
        stored["name"] = module.name
    return stored


def _class_of(cls: type, where: Place) -> names.Reference:
    found = names.reference(cls)
    if found is None:
        raise ArgumentError(
            f"{where} is a {cls.__qualname__} of module {cls.__module__}, a class that can't be "
            "looked up by its name.",
            hint=(
                "Define it at the top level of a module, or register it with Keras: "
                f"keras.saving.get_custom_objects()['{cls.__name__}'] = {cls.__name__}. (The "
                "decorator register_keras_serializable takes classes with a get_config method.)"
            ),
        )
    return found


def from_config(stored: object, where: Place, from_json: Convert) -> object:
    """The module that `to_config` wrote.

    Args:
      stored: JSON.
      where: its place, for the error.
      from_json: reads the values of its fields.

    Raises:
      ArgumentError: a name in it isn't found, or refers to something else.
    """
    if not isinstance(stored, dict) or not ({"class", "shared"} & set(stored)):
        raise ArgumentError(
            f"{where} should be stored as a module, got {describe(stored)}.",
            hint="Was the file written by another version of linnet-keras-bridge?",
        )
    if "shared" in stored:
        return where.made[stored["shared"]]
    # Imported before the lookup, so that module classes can be distinguished from other classes.
    import linnet.module_core.linen
    import linnet.module_core.nnx  # noqa: F401

    cls = names.find(stored["class"], str(where))
    if not is_written_class(cls):
        raise ArgumentError(
            f"{where} should be an instance of a module class, but {stored['class']['name']!r} "
            f"is {describe(cls)}.",
            hint="Another object of that name may be registered with Keras.",
        )
    if "config" in stored:
        read = getattr(cls, "from_config", None)
        made = read(stored["config"]) if callable(read) else cls(**stored["config"])
    elif "attributes" in stored:
        return objects.from_config(cls, stored, where, from_json)
    else:
        made = _remade(cls, stored, where, from_json)
    where.made[stored["id"]] = made
    return made


def _remade(cls: type[Any], stored: dict[str, Any], where: Place, from_json: Convert) -> object:
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    unknown = sorted(set(stored["fields"]) - known)
    if unknown:
        raise ArgumentError(
            f"{where} is stored with the fields {unknown}, which {cls.__name__} doesn't have.",
            hint="Was it saved with a different version of the class?",
        )
    fields = {name: from_json(v, where.field(name)) for name, v in stored["fields"].items()}
    if "name" in stored:
        fields["name"] = stored["name"]
    return cls(**fields, parent=None)
