"""The names of `flax.nnx.nn.initializers`."""

from linnet.nnx.nn.initializers import *  # noqa: F403
