"""The names of `flax.nnx.nn.linear`."""

from linnet.nnx.nn.linear import *  # noqa: F403
