"""The names of `flax.nnx.training.metrics`."""

from linnet.nnx.training.metrics import *  # noqa: F403
