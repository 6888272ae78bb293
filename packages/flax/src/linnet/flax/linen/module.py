"""The names of `flax.linen.module`."""

from linnet.linen.module import *  # noqa: F403
