"""The names of `flax.core.partial_eval`."""

from linnet.module_core import errors as errors
from linnet.module_core.functional.axes_scan import partial_eval as lazy_init

__all__ = ["errors", "lazy_init"]
