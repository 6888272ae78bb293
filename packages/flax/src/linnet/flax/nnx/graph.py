"""The names of `flax.nnx.graph`: an older name for `graphlib`."""

from linnet.flax.nnx.graphlib import *  # noqa: F403
