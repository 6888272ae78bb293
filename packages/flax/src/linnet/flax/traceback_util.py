"""`flax.traceback_util`: whether tracebacks show the library's own frames."""

from linnet.module_core.config import config as config
from linnet.module_core.tracebacks import entry as api_boundary
from linnet.module_core.tracebacks import leave_out

__all__ = [
    "api_boundary",
    "config",
    "hide_flax_in_tracebacks",
    "register_exclusion",
    "show_flax_in_tracebacks",
]


def hide_flax_in_tracebacks() -> None:
    """Removes the library's frames from tracebacks, which is the default."""
    config.update("flax_filter_frames", True)


def show_flax_in_tracebacks() -> None:
    """Leaves the library's frames in tracebacks."""
    config.update("flax_filter_frames", False)


def register_exclusion(path: str) -> None:
    """Removes the frames of another file from tracebacks, too.

    Args:
      path: the path of the file, as tracebacks show it: `__file__` of a module.
    """
    leave_out(path)
