"""The names of `flax.linen.summary`."""

from linnet.linen.summary import *  # noqa: F403
from linnet.module_core.linen.rng import LazyRng as LazyRng
