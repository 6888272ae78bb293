"""The names of `flax.core.meta`."""

from linnet.linen.meta import *  # noqa: F403
from linnet.module_core import errors as errors
