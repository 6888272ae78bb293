"""The names of `flax.core.spmd`: rules from logical axes to those of a mesh."""

from jax.sharding import NamedSharding as NamedSharding
from jax.sharding import PartitionSpec as PartitionSpec

from linnet.linen.spmd import get_logical_axis_rules as get_logical_axis_rules
from linnet.linen.spmd import logical_axis_rules as logical_axis_rules
from linnet.linen.spmd import set_logical_axis_rules as set_logical_axis_rules
from linnet.module_core.typing import LogicalRules as LogicalRules
from linnet.module_core.typing import Sharding as Sharding
