"""Converts classes and functions to names and back.

A model's file holds names in place of classes and functions. The author of the file chose the
names, so resolving them must not execute anything: a name is looked up among the objects that the
program has registered with Keras, in modules that the program itself has imported, and in the
public modules of jax, Keras and Linnet. Nothing else is imported, objects of Python's standard
library are never found, and the caller checks the result.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import keras

from linnet.module_core.errors import ArgumentError, describe

# Public modules of functions that are defined elsewhere.
_PUBLIC = (
    "jax.nn",
    "jax.nn.initializers",
    "jax.numpy",
    "jax.lax",
    "keras.activations",
    "keras.ops",
)

Reference = dict[str, str]


def reference(value: object) -> Reference | None:
    """The reference by which `find` finds a class or function again, or None if it could not."""
    for name, registered in keras.saving.get_custom_objects().items():
        if registered is value:
            return {"name": _own_name(value), "registered_name": name}
    for module in _PUBLIC:
        found = getattr(importlib.import_module(module), getattr(value, "__name__", ""), None)
        if found is value:
            return {"name": f"{module}:{_last(_own_name(value))}"}
    name = _shortest(_own_name(value), value)
    if _looked_up(name) is value:
        return {"name": name}
    # Keras looks up a class by its bare name while `custom_object_scope` is open.
    if _registered(_last(name)) is value:
        return {"name": name, "registered_name": _last(name)}
    return None


def find(stored: object, what: object) -> Any:
    """The class or function of a reference.

    Args:
      stored: the result of `reference`, read from a file.
      what: its use, for the error: "the module", "field 'act' of Net".

    Raises:
      ArgumentError: no allowed location has that name.
    """
    if (
        not isinstance(stored, dict)
        or not isinstance(name := stored.get("name"), str)
        or ":" not in name
    ):
        raise ArgumentError(
            f"{what} should be stored as {{'name': 'module:name'}}, got {describe(stored)}.",
            hint="Was the file written by another version of linnet-keras-bridge?",
        )
    last = _last(name)
    registered = stored.get("registered_name")
    found = _registered(registered) if isinstance(registered, str) else None
    if found is None and _registered(last) is not keras.saving.get_custom_objects().get(last):
        found = _registered(last)  # given by `custom_objects=`, or in an open scope
    if found is None:
        found = _looked_up(name)
    if found is None:
        found = _registered(last)
    if found is None:
        module, _, qualname = name.partition(":")
        raise ArgumentError(
            f"{what} is stored as {qualname!r} of {module!r}, which this program has not imported.",
            hint=(
                f"Import it before loading (from {module} import {last.split('.')[0]}), or pass "
                f"it: keras.saving.load_model(path, custom_objects={{{last!r}: {last}}}). A file "
                "is not allowed to import anything itself."
            ),
        )
    return found


def _registered(name: str) -> object:
    return keras.saving.get_registered_object(name)


def _own_name(value: object) -> str:
    module = getattr(value, "__module__", None) or ""
    return f"{module}:{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _shortest(name: str, value: object) -> str:
    """The name under which Linnet's users know it, since the defining file may move."""
    module, _, qualname = name.partition(":")
    while module.startswith("linnet.") and module.count(".") > 1:
        above = module.rpartition(".")[0]
        if getattr(importlib.import_module(above), qualname, None) is not value:
            break
        module = above
    return f"{module}:{qualname}"


def _last(name: str) -> str:
    return name.rpartition(":")[2].rpartition(".")[2]


def _looked_up(name: str) -> object:
    module_name, _, qualname = name.partition(":")
    top = module_name.partition(".")[0]
    if module_name in _PUBLIC or top == "linnet":
        try:
            module: Any = importlib.import_module(module_name)
        except ImportError:
            return None
    elif top in sys.stdlib_module_names and module_name != "__main__":
        return None
    else:
        module = sys.modules.get(module_name)
    for part in qualname.split("."):
        # Objects of another module that is merely imported there are not found.
        if module is None or (part.startswith("__") and part.endswith("__")):
            return None
        if top == "linnet":  # whose packages load some names lazily
            module = getattr(module, part, None)
        else:
            module = vars(module).get(part) if hasattr(module, "__dict__") else None
        module = module.__func__ if isinstance(module, staticmethod) else module
        if isinstance(module, ModuleType):
            return None
    return module
