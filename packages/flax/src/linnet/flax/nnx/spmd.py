"""The names of `flax.nnx.spmd`."""

from linnet.nnx.spmd import *  # noqa: F403
