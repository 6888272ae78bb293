"""The names of `flax.training.common_utils`."""

from linnet.module_core.training.common_utils import *  # noqa: F403
