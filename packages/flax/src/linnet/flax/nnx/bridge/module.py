"""The names of `flax.nnx.bridge.module`."""

from linnet.linen.module import CollectionFilter as CollectionFilter
from linnet.linen.module import FrozenDict as FrozenDict
from linnet.nnx.bridge.module import *  # noqa: F403
