"""The names of `flax.nnx.nn.recurrent`."""

from typing import Any

from linnet.flax.linen.recurrent import RNNBase as RNNBase
from linnet.nnx.nn.recurrent import *  # noqa: F403

Carry = Output = Any
