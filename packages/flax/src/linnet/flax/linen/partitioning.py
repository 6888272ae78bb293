"""The names of `flax.linen.partitioning`."""

from linnet.linen.partitioning import *  # noqa: F403
