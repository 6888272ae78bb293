"""The errors that can occur when a program runs under the hook."""

from __future__ import annotations

from types import ModuleType

from linnet.module_core.errors import LinnetError


class RealFlaxError(LinnetError, ImportError):
    """The real Flax was imported before the hook was installed."""

    @classmethod
    def of(cls, loaded: ModuleType) -> RealFlaxError:
        """The error for a module `flax` that isn't Linnet's."""
        where = getattr(loaded, "__file__", None) or "an unknown place"
        return cls(
            f"the real Flax ({where}) was imported before linnet.flax could replace it, and a "
            "process cannot have both.",
            hint="Install the hook before anything imports flax, in a new process: "
            "run `python -m linnet.flax script.py`, set LINNET_FLAX=1, or make "
            "`import linnet.flax; linnet.flax.install()` the first lines of the program. "
            "In a notebook, restart the kernel and run `%load_ext linnet.flax` first.",
        )


class MissingNameError(LinnetError, AttributeError, NotImplementedError):
    """A program uses a name of Flax that Linnet doesn't have."""
