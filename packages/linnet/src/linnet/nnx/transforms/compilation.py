"""Compiled programs."""

from linnet.module_core.nnx import StateSharding as StateSharding
from linnet.module_core.nnx import jit as jit
from linnet.module_core.nnx import jit_partial as jit_partial
from linnet.module_core.nnx import shard_map as shard_map
