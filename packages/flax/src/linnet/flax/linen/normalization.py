"""The names of `flax.linen.normalization`."""

from linnet.linen.normalization import *  # noqa: F403
