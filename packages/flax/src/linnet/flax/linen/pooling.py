"""The names of `flax.linen.pooling`."""

from linnet.linen.pooling import *  # noqa: F403
