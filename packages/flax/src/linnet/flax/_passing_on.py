"""Passes on names from other modules: each name is looked up when it is first used (PEP 562).

A module declares the sources of its names twice, side by side: as imports for type checkers, and as
module names for run time, so that nothing is loaded before it is used:

    if TYPE_CHECKING:
        from linnet.linen import *
    else:
        __getattr__, __dir__ = passing_on(__name__, "linnet.linen")
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_NOT_FLAX_S = {"running"}
"""Modules of this package that Flax doesn't have."""


def passing_on(
    module: str, *sources: str, **homes: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Creates `__getattr__` and `__dir__` of a module of the tree.

    Args:
      module: its name. Modules in its folder are among its names.
      sources: modules whose public names it has; tried in this order.
      homes: the sources of other names: a module ("linnet.nnx.graphlib"), or a module and the name
        in it ("linnet.module_core.config:config").
    """

    def find(name: str) -> object:
        if name in homes:
            home, _, inner = homes[name].partition(":")
            found = import_module(home)
            return getattr(found, inner) if inner else found
        if name in _submodules(module):
            return import_module(f".{name}", module)
        if name == "__all__":
            return public()
        text = f"module {module!r} has no attribute {name!r}"
        if not name.startswith("_"):
            for source in sources:
                try:
                    return getattr(import_module(source), name)
                except AttributeError as error:
                    hint = str(error).partition(".\n")[2]  # for a name of another library
                    if hint:
                        text = f"module {module!r} has no attribute {name!r}.\n{hint}"
        raise AttributeError(text, name=name)

    def get(name: str) -> Any:
        found = find(name)
        setattr(sys.modules[module], name, found)
        return found

    def public() -> list[str]:
        own = {name for name in vars(sys.modules[module]) if not name.startswith("_")}
        passed_on = (_public(import_module(source)) for source in sources)
        return sorted({*homes, *_submodules(module), *own}.union(*passed_on) - _NOT_FLAX_S)

    return get, public


def _public(module: object) -> set[str]:
    return {name for name in dir(module) if not name.startswith("_")}


def _submodules(module: str) -> set[str]:
    path = vars(sys.modules[module]).get("__path__")
    if path is None:
        return set()
    found = {entry.name for entry in pkgutil.iter_modules(path)}
    return {name for name in found if not name.startswith("_")} - _NOT_FLAX_S
