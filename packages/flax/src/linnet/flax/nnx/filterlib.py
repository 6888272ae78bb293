"""The names of `flax.nnx.filterlib`."""

from linnet.nnx.filterlib import *  # noqa: F403
