"""Variables on a mesh: names of their axes, and layouts for `jax.jit`."""

from linnet.module_core.nnx import (
    abstract_with_sharding,
    as_abstract,
    get_abstract_model,
    get_named_sharding,
    get_partition_spec,
    get_var_pspec,
    with_partitioning,
)
from linnet.module_core.nnx.spmd import PARTITION_NAME, add_axis, remove_axis

__all__ = [
    "PARTITION_NAME",
    "abstract_with_sharding",
    "add_axis",
    "as_abstract",
    "get_abstract_model",
    "get_named_sharding",
    "get_partition_spec",
    "get_var_pspec",
    "remove_axis",
    "with_partitioning",
]
