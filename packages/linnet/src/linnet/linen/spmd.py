"""Logical axes: names for the meanings of axes, and rules that map the names to a mesh."""

from linnet.module_core.linen.sharding.logical_axes import (
    get_logical_axis_rules,
    logical_axis_rules,
    logical_to_mesh,
    logical_to_mesh_axes,
    logical_to_mesh_sharding,
    set_logical_axis_rules,
)
from linnet.module_core.linen.sharding.logical_constraint import (
    RulesFallback,
    with_logical_constraint,
)
from linnet.module_core.linen.sharding.logically_partitioned import (
    LogicallyPartitioned,
    with_logical_partitioning,
)
from linnet.module_core.typing import (
    Array,
    ArrayPytree,
    LogicalNames,
    LogicalPartitionSpec,
    LogicalPartitionSpecPytree,
    LogicalRules,
)

__all__ = [
    "Array",
    "ArrayPytree",
    "LogicalNames",
    "LogicalPartitionSpec",
    "LogicalPartitionSpecPytree",
    "LogicalRules",
    "LogicallyPartitioned",
    "RulesFallback",
    "get_logical_axis_rules",
    "logical_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "logical_to_mesh_sharding",
    "set_logical_axis_rules",
    "with_logical_constraint",
    "with_logical_partitioning",
]
