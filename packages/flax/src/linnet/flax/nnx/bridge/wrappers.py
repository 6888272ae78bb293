"""The names of `flax.nnx.bridge.wrappers`."""

from linnet.nnx.bridge.wrappers import *  # noqa: F403
from linnet.struct import FrozenDict as FrozenDict
