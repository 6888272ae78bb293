"""The names of `flax.training.prefetch_iterator`."""

from linnet.module_core.training.prefetch_iterator import *  # noqa: F403
