"""The names of `flax.linen.dtypes`."""

from linnet.linen.dtypes import *  # noqa: F403
