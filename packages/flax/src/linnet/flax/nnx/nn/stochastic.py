"""The names of `flax.nnx.nn.stochastic`."""

from linnet.nnx.nn.stochastic import *  # noqa: F403
