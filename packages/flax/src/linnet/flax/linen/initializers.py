"""The names of `flax.linen.initializers`."""

from linnet.linen.initializers import *  # noqa: F403
