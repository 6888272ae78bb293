"""The names of `flax.training.early_stopping`."""

from linnet.module_core.training.early_stopping import *  # noqa: F403
