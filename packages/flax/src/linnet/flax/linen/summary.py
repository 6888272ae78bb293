"""The names of `flax.linen.summary`."""

from linnet.linen.summary import *  # noqa: F403
