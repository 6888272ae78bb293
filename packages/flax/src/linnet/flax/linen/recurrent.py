"""The names of `flax.linen.recurrent`."""

from linnet.linen.recurrent import *  # noqa: F403
