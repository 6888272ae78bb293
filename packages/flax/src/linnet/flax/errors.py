"""The names of `flax.errors`."""

from linnet.module_core.errors import *  # noqa: F403
