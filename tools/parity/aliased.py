"""`import flax` gives Linnet, in a process of its own: how a library of others is run on both.

    python -c "import aliased; aliased.install(); import qwix"

A finder makes `flax.linen` the module `linnet.linen`, and so on; `flax` itself and `flax.core` hold
the names that are elsewhere in Linnet.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types

PLACES = {
    "flax.linen": "linnet.linen",
    "flax.nnx": "linnet.nnx",
    "flax.struct": "linnet.struct",
    "flax.core": "linnet.struct",
    "flax.traverse_util": "linnet.struct.traverse_util",
    "flax.serialization": "linnet.struct.serialization",
    "flax.errors": "linnet.module_core.errors",
    "flax.typing": "linnet.module_core.typing",
    "flax.configurations": "linnet.module_core.config",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `flax` and what is below it in Linnet."""

    def find_spec(self, fullname, path, target=None):
        if fullname != "flax" and not fullname.startswith("flax."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        if spec.name == "flax":
            return types.ModuleType("flax")
        above, _, last = spec.name.rpartition(".")
        if spec.name in PLACES:
            return importlib.import_module(PLACES[spec.name])
        # A submodule, or an attribute that is one.
        return importlib.import_module(f"{importlib.import_module(above).__name__}.{last}")

    def exec_module(self, module):
        # Modules of Linnet ran when they were imported.
        if module.__name__ == "flax":
            module.__getattr__ = _submodule


def _submodule(name):
    if f"flax.{name}" in PLACES:
        return importlib.import_module(f"flax.{name}")
    raise AttributeError(f"module 'flax' has no attribute {name!r}")


def install():
    """From here on, `import flax` gives Linnet."""
    if any(name == "flax" or name.startswith("flax.") for name in sys.modules):
        raise RuntimeError("flax has been imported already; install() comes first")
    sys.meta_path.insert(0, Finder())
