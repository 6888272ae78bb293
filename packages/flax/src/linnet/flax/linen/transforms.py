"""The names of `flax.linen.transforms`."""

from linnet.linen.transforms import *  # noqa: F403
