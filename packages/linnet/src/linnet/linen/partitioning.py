"""The older vocabulary of partitioning; see `linnet.module_core.linen.sharding.partitioning`."""

from linnet.module_core.linen import CollectionFilter, PRNGSequenceFilter
from linnet.module_core.linen.axes import InOutAxis, InOutScanAxis
from linnet.module_core.linen.sharding.logical_axes import logical_to_mesh, logical_to_mesh_axes
from linnet.module_core.linen.sharding.logical_constraint import RulesFallback
from linnet.module_core.linen.sharding.partitioning import (
    AxisMetadata,
    PartitionedVariable,
    ScanIn,
    ScanOut,
    axis_rules,
    get_axis_names,
    get_axis_rules,
    param_with_axes,
    remat,
    scan_with_axes,
    set_axis_rules,
    variable_with_axes,
    vmap_with_axes,
    with_sharding_constraint,
)
from linnet.module_core.typing import (
    Array,
    ArrayPytree,
    LogicalPartitionSpec,
    LogicalPartitionSpecPytree,
    LogicalRules,
    PartitionSpecPytree,
)
from linnet.struct import freeze, unfreeze
from linnet.struct.traverse_util import flatten_dict, unflatten_dict

__all__ = [
    "Array",
    "ArrayPytree",
    "AxisMetadata",
    "CollectionFilter",
    "InOutAxis",
    "InOutScanAxis",
    "LogicalPartitionSpec",
    "LogicalPartitionSpecPytree",
    "LogicalRules",
    "PRNGSequenceFilter",
    "PartitionSpecPytree",
    "PartitionedVariable",
    "RulesFallback",
    "ScanIn",
    "ScanOut",
    "axis_rules",
    "flatten_dict",
    "freeze",
    "get_axis_names",
    "get_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "param_with_axes",
    "remat",
    "scan_with_axes",
    "set_axis_rules",
    "unflatten_dict",
    "unfreeze",
    "variable_with_axes",
    "vmap_with_axes",
    "with_sharding_constraint",
]
