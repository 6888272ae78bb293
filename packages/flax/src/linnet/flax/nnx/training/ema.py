"""The names of `flax.nnx.training.ema`."""

from linnet.nnx.training.ema import *  # noqa: F403
