"""Stateful modules, which own their variables.

The bridge and `tabulate`, which import linen, are loaded on first use.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from .. import replaced as _replaced  # noqa: F401  (early: it looks at jax as it is now)
from ..stacking import stack_layers as stack_layers
from ..stacking import unstack_layers as unstack_layers
from .abstract import abstract_with_sharding as abstract_with_sharding
from .abstract import as_abstract as as_abstract
from .abstract import eval_shape as eval_shape
from .abstract import get_abstract_model as get_abstract_model
from .capturing import capture as capture
from .containers import Dict as Dict
from .containers import List as List
from .containers import Sequential as Sequential
from .creating import create as create
from .filters import All as All
from .filters import Any as Any
from .filters import Everything as Everything
from .filters import Not as Not
from .filters import Nothing as Nothing
from .filters import OfType as OfType
from .filters import PathContains as PathContains
from .filters import PathIn as PathIn
from .filters import WithTag as WithTag
from .module import Module as Module
from .module import first_from as first_from
from .module import iter_module_children as iter_module_children
from .module import iter_modules as iter_modules
from .nodes.kinds import register_data_type as register_data_type
from .nodes.marks import Data as Data
from .nodes.marks import Static as Static
from .nodes.marks import data as data
from .nodes.marks import has_data as has_data
from .nodes.marks import is_data as is_data
from .nodes.marks import static as static
from .nodes.pytree import Object as Object
from .nodes.pytree import Pytree as Pytree
from .nodes.pytree import check_pytree as check_pytree
from .nodes.pytree import dataclass as dataclass
from .repeat import Repeat as Repeat
from .showing import display as display
from .spmd import PARTITION_NAME as PARTITION_NAME
from .spmd import get_logical_axis_rules as get_logical_axis_rules
from .spmd import get_named_sharding as get_named_sharding
from .spmd import get_partition_spec as get_partition_spec
from .spmd import get_var_pspec as get_var_pspec
from .spmd import logical_axis_rules as logical_axis_rules
from .spmd import set_logical_axis_rules as set_logical_axis_rules
from .spmd import use_eager_sharding as use_eager_sharding
from .spmd import using_eager_sharding as using_eager_sharding
from .spmd import with_partitioning as with_partitioning
from .streams.reseeding import reseed as reseed
from .streams.rng_copies import with_rngs as with_rngs
from .streams.rng_splitting import StreamBackups as StreamBackups
from .streams.rng_splitting import backup_keys as backup_keys
from .streams.rng_splitting import fork_rngs as fork_rngs
from .streams.rng_splitting import restore_rngs as restore_rngs
from .streams.rng_splitting import split_rngs as split_rngs
from .streams.rngs import Rngs as Rngs
from .streams.rngs import RngStream as RngStream
from .structure.calling import call as call
from .structure.contexts import MergeContext as MergeContext
from .structure.contexts import SplitContext as SplitContext
from .structure.contexts import UpdateContext as UpdateContext
from .structure.contexts import merge_context as merge_context
from .structure.contexts import split_context as split_context
from .structure.contexts import update_context as update_context
from .structure.flattening import flatten as flatten
from .structure.flattening import unflatten as unflatten
from .structure.graph import as_pure as as_pure
from .structure.graph import clone as clone
from .structure.graph import graphdef as graphdef
from .structure.graph import map as map
from .structure.graph import merge as merge
from .structure.graph import pure as pure
from .structure.graph import split as split
from .structure.graph import state as state
from .structure.graph import variables as variables
from .structure.graphdef import GraphDef as GraphDef
from .structure.iteration import find_duplicates as find_duplicates
from .structure.iteration import iter_children as iter_children
from .structure.iteration import iter_graph as iter_graph
from .structure.iteration import recursive_map as recursive_map
from .structure.iteration import set_metadata as set_metadata
from .structure.modes import set_graph_mode as set_graph_mode
from .structure.modes import set_graph_updates as set_graph_updates
from .structure.modes import var_defaults as var_defaults
from .structure.states import FlatState as FlatState
from .structure.states import State as State
from .structure.states import diff as diff
from .structure.states import filter_state as filter_state
from .structure.states import from_flat_state as from_flat_state
from .structure.states import map_state as map_state
from .structure.states import merge_state as merge_state
from .structure.states import replace_by_pure_dict as replace_by_pure_dict
from .structure.states import restore_int_paths as restore_int_paths
from .structure.states import split_state as split_state
from .structure.states import to_flat_state as to_flat_state
from .structure.states import to_pure_dict as to_pure_dict
from .structure.trees import NodeStates as NodeStates
from .structure.trees import from_tree as from_tree
from .structure.trees import to_tree as to_tree
from .structure.unpacked import A as A
from .structure.unpacked import GraphState as GraphState
from .structure.unpacked import M as M
from .structure.unpacked import PureState as PureState
from .structure.unpacked import unpack as unpack
from .structure.updating import pop as pop
from .structure.updating import update as update
from .training import metrics as metrics
from .training.ema import EMA as EMA
from .training.metrics import Metric as Metric
from .training.metrics import MultiMetric as MultiMetric
from .training.optimizer import ModelAndOptimizer as ModelAndOptimizer
from .training.optimizer import Optimizer as Optimizer
from .training.train_state import TrainState as TrainState
from .transforms.autodiff import custom_vjp as custom_vjp
from .transforms.autodiff import jvp as jvp
from .transforms.autodiff import vjp as vjp
from .transforms.control import cond as cond
from .transforms.control import fori_loop as fori_loop
from .transforms.control import switch as switch
from .transforms.control import while_loop as while_loop
from .transforms.grad import DiffState as DiffState
from .transforms.grad import grad as grad
from .transforms.grad import value_and_grad as value_and_grad
from .transforms.jit import StateSharding as StateSharding
from .transforms.jit import jit as jit
from .transforms.metadata import transform_metadata as transform_metadata
from .transforms.partial import cached_partial as cached_partial
from .transforms.partial import jit_partial as jit_partial
from .transforms.prefixing import prefix as prefix
from .transforms.scan import scan as scan
from .transforms.scan_specs import Carry as Carry
from .transforms.shard_map import shard_map as shard_map
from .transforms.simple import checkify as checkify
from .transforms.simple import checkpoint as checkpoint
from .transforms.simple import make_jaxpr as make_jaxpr
from .transforms.simple import remat as remat
from .transforms.vmap import StateAxes as StateAxes
from .transforms.vmap import pmap as pmap
from .transforms.vmap import vmap as vmap
from .variable.variable import Variable as Variable
from .variable.variable import VariableState as VariableState
from .variable.variable_metadata import VariableMetadata as VariableMetadata
from .variable.variable_metadata import with_metadata as with_metadata
from .variable.variable_types import BatchStat as BatchStat
from .variable.variable_types import Cache as Cache
from .variable.variable_types import Intermediate as Intermediate
from .variable.variable_types import LoRAParam as LoRAParam
from .variable.variable_types import MetricState as MetricState
from .variable.variable_types import OptArray as OptArray
from .variable.variable_types import OptState as OptState
from .variable.variable_types import OptVariable as OptVariable
from .variable.variable_types import Param as Param
from .variable.variable_types import Perturbation as Perturbation
from .variable.variable_types import RngCount as RngCount
from .variable.variable_types import RngKey as RngKey
from .variable.variable_types import RngState as RngState
from .variable.variable_types import register_variable_name as register_variable_name
from .variable.variable_types import variable_name_from_type as variable_name_from_type
from .variable.variable_types import variable_type_from_name as variable_type_from_name
from .viewing import vars_as as vars_as
from .viewing import view as view
from .viewing import view_info as view_info
from .viewing import with_attributes as with_attributes
from .viewing import with_vars as with_vars

if TYPE_CHECKING:
    from . import bridge as bridge
    from . import summary as summary
    from .summary import tabulate as tabulate


if not TYPE_CHECKING:  # a type checker would take every misspelled name for one of these

    def __getattr__(name: str) -> object:
        if name in ("bridge", "summary"):
            return _import_module(f".{name}", __name__)
        if name == "tabulate":
            return _import_module(".summary", __name__).tabulate
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
