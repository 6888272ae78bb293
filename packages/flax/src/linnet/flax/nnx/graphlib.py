"""The names of `flax.nnx.graphlib`."""

from linnet.nnx.graphlib import *  # noqa: F403
