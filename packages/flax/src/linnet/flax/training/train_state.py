"""The names of `flax.training.train_state`."""

from linnet.module_core.training.train_state import *  # noqa: F403
