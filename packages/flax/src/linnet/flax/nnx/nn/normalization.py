"""The names of `flax.nnx.nn.normalization`."""

from linnet.nnx.nn.normalization import *  # noqa: F403
