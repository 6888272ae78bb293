"""The names of `flax.training.lr_schedule`."""

from linnet.module_core.training.lr_schedule import *  # noqa: F403
