"""The names of `flax.nnx.nn.attention`."""

from linnet.nnx.nn.attention import *  # noqa: F403
