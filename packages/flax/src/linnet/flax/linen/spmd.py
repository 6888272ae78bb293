"""The names of `flax.linen.spmd`."""

from linnet.linen.spmd import *  # noqa: F403
