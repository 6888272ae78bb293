"""Classes and functions by name, and back.

A model's file holds names where the model has classes and functions. Whoever wrote the file chose
the names, so finding what they mean must not run anything: a name is looked up among what the
program has registered with Keras, in modules that the program has imported itself, and in the
public ones of jax, Keras and Linnet. Nothing else is imported, nothing of Python's own library is
found, and what is found is checked by whoever asked for it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import keras

from linnet.module_core.errors import ArgumentError, describe

# Where functions are public that are defined elsewhere.
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
    """What `find` needs to find a class or function again, or None if it could not."""
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
    # Keras looks a class up by its bare name while `custom_object_scope` is open.
    if _registered(_last(name)) is value:
        return {"name": name, "registered_name": _last(name)}
    return None


def find(stored: Any, what: object) -> Any:
    """The class or function of a reference.

    Args:
      stored: what `reference` returned, back from a file.
      what: what it is needed for, for the error: "the module", "field 'act' of Net".

    Raises:
      ArgumentError: there is nothing of that name where one may look.
    """
    name = stored.get("name") if isinstance(stored, dict) else None
    if not isinstance(name, str) or ":" not in name:
        raise ArgumentError(
            f"{what} should be stored as {{'name': 'module:name'}}, got {describe(stored)}.",
            hint="Was the file written by another version of linnet-keras-bridge?",
        )
    last = _last(name)
    registered = stored.get("registered_name")
    found = _registered(registered) if isinstance(registered, str) else None
    if found is None and _registered(last) is not keras.saving.get_custom_objects().get(last):
        found = _registered(last)  # said by `custom_objects=`, or in an open scope
    if found is None:
        found = _looked_up(name)
    if found is None:
        found = _registered(last)
    if found is None:
        module, _, qualname = name.partition(":")
        raise ArgumentError(
            f"{what} is stored as {qualname!r} of {module!r}, and there is no such name in what "
            "this program has imported.",
            hint=f"Import it before loading (from {module} import {last.split('.')[0]}), or say "
            f"which it is: keras.saving.load_model(path, custom_objects={{{last!r}: {last}}}). "
            "A file is not allowed to import anything itself.",
        )
    return found


def _registered(name: str) -> object:
    return keras.saving.get_registered_object(name)


def _own_name(value: object) -> str:
    module = getattr(value, "__module__", None) or ""
    return f"{module}:{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _shortest(name: str, value: object) -> str:
    """The name under which Linnet's user knows it: the file that defines it may move."""
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
        # Of another module that is merely imported there, nothing is found.
        if module is None or (part.startswith("__") and part.endswith("__")):
            return None
        if top == "linnet":  # whose packages load some names when asked for them
            module = getattr(module, part, None)
        else:
            module = vars(module).get(part) if hasattr(module, "__dict__") else None
        module = module.__func__ if isinstance(module, staticmethod) else module
        if isinstance(module, ModuleType):
            return None
    return module
