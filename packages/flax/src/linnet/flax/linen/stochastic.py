"""The names of `flax.linen.stochastic`."""

from linnet.linen.stochastic import *  # noqa: F403
