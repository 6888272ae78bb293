"""The hook: `import flax.linen` gives the module `linnet.flax.linen`, and so on for every module.

A finder at the front of `sys.meta_path` handles `flax` and the modules below it. It creates
nothing: the entry of `flax.linen` in `sys.modules` becomes the module `linnet.flax.linen` itself,
so there is one set of classes, and whatever is pickled under either name loads under the other. The
finder also provides the metadata of a distribution named `flax`, so Flax need not be installed.

This module is imported whenever Python starts with `LINNET_FLAX=1`. It therefore uses little of the
standard library and loads nothing else until a program asks for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.metadata import Distribution

VARIABLE = "LINNET_FLAX"
"""The environment variable that installs the hook when Python starts, unless it is 0 or empty."""


class Finder:
    """Finds `flax` and the modules below it in `linnet.flax`; both the finder and the loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec that imports a module of Flax from Linnet, or None for other modules."""
        if fullname.startswith("linnet.flax."):
            return _watched(fullname, path, target)
        if fullname != "flax" and not fullname.startswith("flax."):
            return None
        own = _spec(f"linnet.{fullname}")
        if own is None:
            from linnet.flax.running.missing import missing_module

            return missing_module(fullname)
        folders = own.submodule_search_locations
        spec = ModuleSpec(
            fullname, cast("Loader", self), origin=own.origin, is_package=folders is not None
        )
        if folders is not None:
            spec.submodule_search_locations = list(folders)
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Returns None: the import system's own module is replaced when it is executed."""

    def exec_module(self, module: ModuleType) -> None:
        """Replaces the new module with Linnet's."""
        name = module.__name__
        found = import_module(f"linnet.{name}")
        # In the end, an import takes what is in sys.modules now. The module's own __name__,
        # __spec__ and __loader__ are never touched.
        sys.modules[name] = found

    def find_distributions(self, context: object = None) -> Iterator[Distribution]:
        """The metadata that `importlib.metadata` shows for `flax`."""
        name = getattr(context, "name", None)
        if name is None or name.lower() == "flax":
            from linnet.flax.running.metadata import Flax

            yield Flax()


finder = Finder()
watching: list[Callable[[str, ModuleType], None]] = []
"""Called with each module of the tree when it has been loaded, and its name in Flax."""


def install(*, report: bool = False) -> None:
    """Makes `import flax` give `linnet.flax` from now on, in child processes, too.

    Calling it again does nothing. Flax need not be installed; if it is, it is not loaded.

    Args:
      report: whether a table is printed when the process ends: which names of Flax the program
        used, which of them are missing, and how much time went where.

    Raises:
      RealFlaxError: the program has already imported the real Flax.
    """
    loaded = sys.modules.get("flax")
    if loaded is not None and loaded is not sys.modules["linnet.flax"]:
        from linnet.flax.running.errors import RealFlaxError

        raise RealFlaxError.of(loaded)
    if finder not in sys.meta_path:
        from linnet.flax.running.missing import watch

        sys.meta_path.insert(0, finder)
        os.environ[VARIABLE] = "1"
        watching.append(watch)
    if report:
        from linnet.flax.running.report import begin

        begin(watching)
    for name in [n for n in sys.modules if n == "linnet.flax" or n.startswith("linnet.flax.")]:
        _serve(name, sys.modules[name])


def uninstall() -> None:
    """Undoes `install`: `import flax` imports the real Flax again, if it is installed.

    Objects that the program has imported so far are still Linnet's.
    """
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
        watching.clear()
        os.environ.pop(VARIABLE, None)
    for name in [n for n in sys.modules if n == "flax" or n.startswith("flax.")]:
        if sys.modules[name] is sys.modules.get(f"linnet.{name}"):
            del sys.modules[name]


def _spec(name: str) -> ModuleSpec | None:
    """The result of `importlib.util.find_spec`, which is imported only for an unloaded module."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded.__spec__
    from importlib.util import find_spec

    return find_spec(name)


def _watched(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """The other finders' spec of a module of Linnet's tree, which is registered once loaded.

    A program also reaches modules without importing them by name: `import flax; flax.linen.Dense`.
    """
    for other in sys.meta_path:
        spec = None if other is finder else other.find_spec(name, path, target)
        if spec is None:
            continue
        loader: Any = spec.loader
        loader.exec_module = partial(_execute, loader.exec_module)
        return spec
    return None


def _execute(run: Callable[[ModuleType], None], module: ModuleType) -> None:
    run(module)
    _serve(module.__name__, module)


def _serve(name: str, module: ModuleType) -> None:
    """Registers a module of Linnet's tree under its name in Flax."""
    name = name.removeprefix("linnet.")
    if name.split(".")[1:2] == ["running"] or name == "flax.__main__":
        return
    sys.modules[name] = module
    for watch in watching:
        watch(name, module)
