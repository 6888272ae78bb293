"""The names of `flax.linen.combinators`."""

from linnet.linen.combinators import *  # noqa: F403
