"""The names of `flax.nnx.nn.linear`."""

from linnet.nnx.nn.linear import *  # noqa: F403
from linnet.struct import FrozenDict as FrozenDict

Size = int
