"""Boxes that attach metadata to values, chiefly the names of their axes."""

from linnet.module_core.boxes import (
    AxisMetadata,
    add_axis,
    is_axis_metadata,
    map_axis_meta,
    remove_axis,
    replace_boxed,
    unbox,
)
from linnet.module_core.linen.sharding.mesh import get_global_mesh, global_mesh_defined
from linnet.module_core.linen.sharding.partitioned import (
    PARTITION_NAME,
    Partitioned,
    get_partition_spec,
    get_sharding,
    with_partitioning,
)
from linnet.module_core.typing import LogicalNames

__all__ = [
    "PARTITION_NAME",
    "AxisMetadata",
    "LogicalNames",
    "Partitioned",
    "add_axis",
    "get_global_mesh",
    "get_partition_spec",
    "get_sharding",
    "global_mesh_defined",
    "is_axis_metadata",
    "map_axis_meta",
    "remove_axis",
    "replace_boxed",
    "unbox",
    "with_partitioning",
]
