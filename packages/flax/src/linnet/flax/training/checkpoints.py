"""The names of `flax.training.checkpoints`."""

from linnet.module_core.training.checkpoints import *  # noqa: F403
