"""Variables on a mesh: names of their axes, and layouts for `jax.jit`."""

from linnet.module_core.nnx import PARTITION_NAME as PARTITION_NAME
from linnet.module_core.nnx import abstract_with_sharding as abstract_with_sharding
from linnet.module_core.nnx import as_abstract as as_abstract
from linnet.module_core.nnx import get_abstract_model as get_abstract_model
from linnet.module_core.nnx import get_logical_axis_rules as get_logical_axis_rules
from linnet.module_core.nnx import get_named_sharding as get_named_sharding
from linnet.module_core.nnx import get_partition_spec as get_partition_spec
from linnet.module_core.nnx import get_var_pspec as get_var_pspec
from linnet.module_core.nnx import logical_axis_rules as logical_axis_rules
from linnet.module_core.nnx import set_logical_axis_rules as set_logical_axis_rules
from linnet.module_core.nnx import with_partitioning as with_partitioning
from linnet.module_core.nnx.spmd import add_axis as add_axis
from linnet.module_core.nnx.spmd import remove_axis as remove_axis
