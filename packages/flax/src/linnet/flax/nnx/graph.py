"""The names of `flax.nnx.graph`."""

from linnet.nnx.graph import *  # noqa: F403
