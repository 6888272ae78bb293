"""The names of `flax.metrics.tensorboard`."""

from linnet.module_core.training.tensorboard import *  # noqa: F403
