"""The core of linen: modules whose variables live outside them.

`module` defines a module, `scope` the place of its variables, `rng` the derivation of random keys.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .. import replaced as _replaced  # noqa: F401  (early: it looks at jax as it is now)
from ..boxes import AxisMetadata, map_axis_meta, unbox
from ..config import config as config
from ..stacking import stack_layers, unstack_layers
from . import metadata as metadata
from .axes import In, Out, broadcast
from .calls import apply_fn as apply
from .calls import init_fn as init
from .calls import init_with_output_fn as init_with_output
from .combinators import BatchApply, Sequential
from .context import (
    InterceptorContext,
    disable_named_call,
    enable_named_call,
    intercept_methods,
    override_named_call,
)
from .filters import CollectionFilter, DenyList, PRNGSequenceFilter
from .methods import compact, compact_name_scope, named_call, nowrap
from .module import Module, merge_param, share_scope
from .repeat import Repeat
from .scope import Scope
from .sharding.logical_axes import (
    get_logical_axis_rules,
    logical_axis_rules,
    logical_to_mesh,
    logical_to_mesh_axes,
    logical_to_mesh_sharding,
    set_logical_axis_rules,
)
from .sharding.logical_constraint import RulesFallback, with_logical_constraint
from .sharding.logically_partitioned import LogicallyPartitioned, with_logical_partitioning
from .sharding.partitioned import (
    PARTITION_NAME,
    Partitioned,
    get_partition_spec,
    get_sharding,
    with_partitioning,
)
from .transforms.autodiff import custom_vjp, grad, jvp, value_and_grad, vjp
from .transforms.control_flow import cond, switch, while_loop
from .transforms.jit import fold_rngs, jit
from .transforms.map_variables import add_metadata_axis, map_variables
from .transforms.remat import checkpoint, remat, remat_scan
from .transforms.scan import scan
from .transforms.vmap import vmap
from .variable import Variable

if TYPE_CHECKING:
    from . import summary as summary
    from .summary import tabulate

__all__ = [
    "PARTITION_NAME",
    "AxisMetadata",
    "BatchApply",
    "CollectionFilter",
    "DenyList",
    "In",
    "InterceptorContext",
    "LogicallyPartitioned",
    "Module",
    "Out",
    "PRNGSequenceFilter",
    "Partitioned",
    "Repeat",
    "RulesFallback",
    "Scope",
    "Sequential",
    "Variable",
    "add_metadata_axis",
    "apply",
    "broadcast",
    "checkpoint",
    "compact",
    "compact_name_scope",
    "cond",
    "custom_vjp",
    "disable_named_call",
    "enable_named_call",
    "fold_rngs",
    "get_logical_axis_rules",
    "get_partition_spec",
    "get_sharding",
    "grad",
    "init",
    "init_with_output",
    "intercept_methods",
    "jit",
    "jvp",
    "logical_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "logical_to_mesh_sharding",
    "map_axis_meta",
    "map_variables",
    "merge_param",
    "named_call",
    "nowrap",
    "override_named_call",
    "remat",
    "remat_scan",
    "scan",
    "set_logical_axis_rules",
    "share_scope",
    "stack_layers",
    "switch",
    "tabulate",
    "unbox",
    "unstack_layers",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
    "with_logical_constraint",
    "with_logical_partitioning",
    "with_partitioning",
]


if not TYPE_CHECKING:  # a type checker would take every misspelled name for one of these

    def __getattr__(name: str) -> object:
        # Tables account for a quarter of the import time, and few programs draw one.
        if name in ("summary", "tabulate"):
            summary = import_module(".summary", __name__)
            return summary if name == "summary" else summary.tabulate
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
