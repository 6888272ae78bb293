"""Loads names of a module when they are first used (PEP 562).

A module that re-exports names from other packages declares these at run time with

    __getattr__, __dir__ = names_on_demand(__name__, packages=[...], homes={...})

and for type checkers with `from ... import *` under `TYPE_CHECKING`. If the module is a package,
its own modules are included. Names are cached in the module after the first lookup.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


def names_on_demand(
    module: str,
    *,
    packages: Sequence[str] = (),
    homes: Mapping[str, str] = {},
    elsewhere: str | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Creates `__getattr__` and `__dir__` of a module.

    Args:
      module: the name of the module, often a package.
      packages: packages whose public names, except modules, are re-exported; tried in this order.
      homes: the location of other names: a module (".nn.linear"), or a module and the name in it
        ("linnet.initializers:Initializer").
      elsewhere: a module whose `NAMES` say what to write for names of other libraries. It is loaded
        when a name isn't found.
    """

    def find(name: str) -> object:
        if name in homes:
            home, _, inner = homes[name].partition(":")
            found = import_module(home, module)
            return getattr(found, inner) if inner else found
        if name == "__all__" and packages:
            return public()
        if name in _submodules(module):
            return import_module(f".{name}", module)
        for package in packages:
            if name in _public(import_module(package)):
                return getattr(sys.modules[package], name)
        text = f"module {module!r} has no attribute {name!r}"
        if elsewhere is not None and not name.startswith("_"):
            hint = import_module(elsewhere, module).NAMES.get(name)
            text += "" if hint is None else f".\n  {hint}"
        raise AttributeError(text)

    def get(name: str) -> object:
        found = find(name)
        setattr(sys.modules[module], name, found)
        return found

    def public() -> list[str]:
        own = sys.modules[module]
        version = {"__version__"}.intersection(vars(own))
        passed_on = (_public(import_module(package)) for package in packages)
        return sorted({*homes, *version, *_submodules(module), *_public(own)}.union(*passed_on))

    return get, public


def _public(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


def _submodules(module: str) -> set[str]:
    found = pkgutil.iter_modules(vars(sys.modules[module]).get("__path__", []))
    return {entry.name for entry in found if not entry.name.startswith("_")}
