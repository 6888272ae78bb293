"""The names of `flax.linen.attention`."""

from linnet.linen.attention import *  # noqa: F403
