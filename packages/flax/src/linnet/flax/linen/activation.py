"""The names of `flax.linen.activation`."""

from linnet.linen.activation import *  # noqa: F403
