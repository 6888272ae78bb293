"""The defaults of a constructor's arguments, which representations leave out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from weakref import WeakKeyDictionary

_known: WeakKeyDictionary[type, Mapping[str, object]] = WeakKeyDictionary()


def defaults_of(cls: type) -> Mapping[str, object]:
    """The defaults of a class's constructor, by the names of its parameters."""
    found = _known.get(cls)
    if found is None:
        if dataclasses.is_dataclass(cls):
            found = {f.name: _default_of(f) for f in dataclasses.fields(cls)}
        else:
            found = {name: p.default for name, p in _parameters(cls).items()}
        found = _known[cls] = {k: v for k, v in found.items() if v is not inspect.Parameter.empty}
    return found


def is_default(cls: type, name: str, value: object) -> bool:
    """Whether an attribute's value is the default of the constructor argument of the same name."""
    defaults = defaults_of(cls)
    if name not in defaults:
        return False
    default = defaults[name]
    if value is default:
        return True
    # Arrays compare element by element, and other values may raise an error.
    if type(value) is not type(default) or hasattr(value, "shape"):
        return False
    try:
        return bool(value == default)
    except Exception:
        return False


def _default_of(field: dataclasses.Field[object]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(cls).parameters
    except (TypeError, ValueError):  # a constructor without a signature
        return {}
