"""The names of `flax.struct`."""

from linnet.struct import *  # noqa: F403
