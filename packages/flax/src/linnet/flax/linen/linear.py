"""The names of `flax.linen.linear`."""

from linnet.linen.linear import *  # noqa: F403
