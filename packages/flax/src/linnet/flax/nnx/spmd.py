"""The names of `flax.nnx.spmd`."""

from jax import eval_shape as eval_shape
from jax.sharding import PartitionSpec as PartitionSpec

from linnet.module_core.typing import Sharding as Sharding
from linnet.nnx.spmd import *  # noqa: F403
