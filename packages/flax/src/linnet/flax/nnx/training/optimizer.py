"""The names of `flax.nnx.training.optimizer`."""

from linnet.nnx.training.optimizer import *  # noqa: F403
