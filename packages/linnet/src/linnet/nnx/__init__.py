"""Neural networks as stateful modules: everything that nnx has, under one name.

This package defines nothing itself: the `__module__` of a class or function names its package.
The core is loaded immediately, layers and namespaces (`nnx.graph`, `nnx.nn`) on first use.

>>> import jax.numpy as jnp
>>> from linnet import nnx
>>> class MLP(nnx.Module):
...     def __init__(self, din, dout, *, rngs):
...         self.hidden = nnx.Linear(din, 32, rngs=rngs)
...         self.out = nnx.Linear(32, dout, rngs=rngs)
...
...     def __call__(self, x):
...         return self.out(nnx.relu(self.hidden(x)))
>>> model = MLP(64, 10, rngs=nnx.Rngs(0))
>>> model(jnp.ones((5, 64))).shape
(5, 10)
"""

import typing as _typing

from jax.nn import celu as celu
from jax.nn import elu as elu
from jax.nn import glu as glu
from jax.nn import hard_sigmoid as hard_sigmoid
from jax.nn import hard_silu as hard_silu
from jax.nn import hard_swish as hard_swish
from jax.nn import hard_tanh as hard_tanh
from jax.nn import identity as identity
from jax.nn import leaky_relu as leaky_relu
from jax.nn import log_sigmoid as log_sigmoid
from jax.nn import log_softmax as log_softmax
from jax.nn import one_hot as one_hot
from jax.nn import selu as selu
from jax.nn import sigmoid as sigmoid
from jax.nn import silu as silu
from jax.nn import soft_sign as soft_sign
from jax.nn import softplus as softplus
from jax.nn import standardize as standardize
from jax.nn import swish as swish
from jax.numpy import tanh as tanh

from linnet.module_core.nnx import EMA as EMA
from linnet.module_core.nnx import PARTITION_NAME as PARTITION_NAME
from linnet.module_core.nnx import A as A
from linnet.module_core.nnx import All as All
from linnet.module_core.nnx import Any as Any
from linnet.module_core.nnx import BatchStat as BatchStat
from linnet.module_core.nnx import Cache as Cache
from linnet.module_core.nnx import Carry as Carry
from linnet.module_core.nnx import Data as Data
from linnet.module_core.nnx import Dict as Dict
from linnet.module_core.nnx import DiffState as DiffState
from linnet.module_core.nnx import Everything as Everything
from linnet.module_core.nnx import FlatState as FlatState
from linnet.module_core.nnx import GraphDef as GraphDef
from linnet.module_core.nnx import GraphState as GraphState
from linnet.module_core.nnx import Intermediate as Intermediate
from linnet.module_core.nnx import List as List
from linnet.module_core.nnx import LoRAParam as LoRAParam
from linnet.module_core.nnx import M as M
from linnet.module_core.nnx import MergeContext as MergeContext
from linnet.module_core.nnx import Metric as Metric
from linnet.module_core.nnx import MetricState as MetricState
from linnet.module_core.nnx import ModelAndOptimizer as ModelAndOptimizer
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import MultiMetric as MultiMetric
from linnet.module_core.nnx import NodeStates as NodeStates
from linnet.module_core.nnx import Not as Not
from linnet.module_core.nnx import Nothing as Nothing
from linnet.module_core.nnx import Object as Object
from linnet.module_core.nnx import OfType as OfType
from linnet.module_core.nnx import OptArray as OptArray
from linnet.module_core.nnx import Optimizer as Optimizer
from linnet.module_core.nnx import OptState as OptState
from linnet.module_core.nnx import OptVariable as OptVariable
from linnet.module_core.nnx import Param as Param
from linnet.module_core.nnx import PathContains as PathContains
from linnet.module_core.nnx import PathIn as PathIn
from linnet.module_core.nnx import Perturbation as Perturbation
from linnet.module_core.nnx import PureState as PureState
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import Repeat as Repeat
from linnet.module_core.nnx import RngCount as RngCount
from linnet.module_core.nnx import RngKey as RngKey
from linnet.module_core.nnx import Rngs as Rngs
from linnet.module_core.nnx import RngState as RngState
from linnet.module_core.nnx import RngStream as RngStream
from linnet.module_core.nnx import Sequential as Sequential
from linnet.module_core.nnx import SplitContext as SplitContext
from linnet.module_core.nnx import State as State
from linnet.module_core.nnx import StateAxes as StateAxes
from linnet.module_core.nnx import StateSharding as StateSharding
from linnet.module_core.nnx import Static as Static
from linnet.module_core.nnx import StreamBackups as StreamBackups
from linnet.module_core.nnx import TrainState as TrainState
from linnet.module_core.nnx import UpdateContext as UpdateContext
from linnet.module_core.nnx import Variable as Variable
from linnet.module_core.nnx import VariableMetadata as VariableMetadata
from linnet.module_core.nnx import VariableState as VariableState
from linnet.module_core.nnx import WithTag as WithTag
from linnet.module_core.nnx import abstract_with_sharding as abstract_with_sharding
from linnet.module_core.nnx import as_abstract as as_abstract
from linnet.module_core.nnx import as_pure as as_pure
from linnet.module_core.nnx import backup_keys as backup_keys
from linnet.module_core.nnx import cached_partial as cached_partial
from linnet.module_core.nnx import call as call
from linnet.module_core.nnx import capture as capture
from linnet.module_core.nnx import check_pytree as check_pytree
from linnet.module_core.nnx import checkify as checkify
from linnet.module_core.nnx import checkpoint as checkpoint
from linnet.module_core.nnx import clone as clone
from linnet.module_core.nnx import cond as cond
from linnet.module_core.nnx import create as create
from linnet.module_core.nnx import custom_vjp as custom_vjp
from linnet.module_core.nnx import data as data
from linnet.module_core.nnx import dataclass as dataclass
from linnet.module_core.nnx import diff as diff
from linnet.module_core.nnx import display as display
from linnet.module_core.nnx import eval_shape as eval_shape
from linnet.module_core.nnx import filter_state as filter_state
from linnet.module_core.nnx import find_duplicates as find_duplicates
from linnet.module_core.nnx import first_from as first_from
from linnet.module_core.nnx import flatten as flatten
from linnet.module_core.nnx import fori_loop as fori_loop
from linnet.module_core.nnx import fork_rngs as fork_rngs
from linnet.module_core.nnx import from_flat_state as from_flat_state
from linnet.module_core.nnx import from_tree as from_tree
from linnet.module_core.nnx import get_abstract_model as get_abstract_model
from linnet.module_core.nnx import get_logical_axis_rules as get_logical_axis_rules
from linnet.module_core.nnx import get_named_sharding as get_named_sharding
from linnet.module_core.nnx import get_partition_spec as get_partition_spec
from linnet.module_core.nnx import get_var_pspec as get_var_pspec
from linnet.module_core.nnx import grad as grad
from linnet.module_core.nnx import graphdef as graphdef
from linnet.module_core.nnx import has_data as has_data
from linnet.module_core.nnx import is_data as is_data
from linnet.module_core.nnx import iter_children as iter_children
from linnet.module_core.nnx import iter_graph as iter_graph
from linnet.module_core.nnx import iter_module_children as iter_module_children
from linnet.module_core.nnx import iter_modules as iter_modules
from linnet.module_core.nnx import jit as jit
from linnet.module_core.nnx import jit_partial as jit_partial
from linnet.module_core.nnx import jvp as jvp
from linnet.module_core.nnx import logical_axis_rules as logical_axis_rules
from linnet.module_core.nnx import make_jaxpr as make_jaxpr
from linnet.module_core.nnx import map as map
from linnet.module_core.nnx import map_state as map_state
from linnet.module_core.nnx import merge as merge
from linnet.module_core.nnx import merge_context as merge_context
from linnet.module_core.nnx import merge_state as merge_state
from linnet.module_core.nnx import pmap as pmap
from linnet.module_core.nnx import pop as pop
from linnet.module_core.nnx import prefix as prefix
from linnet.module_core.nnx import pure as pure
from linnet.module_core.nnx import recursive_map as recursive_map
from linnet.module_core.nnx import register_data_type as register_data_type
from linnet.module_core.nnx import register_variable_name as register_variable_name
from linnet.module_core.nnx import remat as remat
from linnet.module_core.nnx import replace_by_pure_dict as replace_by_pure_dict
from linnet.module_core.nnx import reseed as reseed
from linnet.module_core.nnx import restore_int_paths as restore_int_paths
from linnet.module_core.nnx import restore_rngs as restore_rngs
from linnet.module_core.nnx import scan as scan
from linnet.module_core.nnx import set_graph_mode as set_graph_mode
from linnet.module_core.nnx import set_graph_updates as set_graph_updates
from linnet.module_core.nnx import set_logical_axis_rules as set_logical_axis_rules
from linnet.module_core.nnx import set_metadata as set_metadata
from linnet.module_core.nnx import shard_map as shard_map
from linnet.module_core.nnx import split as split
from linnet.module_core.nnx import split_context as split_context
from linnet.module_core.nnx import split_rngs as split_rngs
from linnet.module_core.nnx import split_state as split_state
from linnet.module_core.nnx import stack_layers as stack_layers
from linnet.module_core.nnx import state as state
from linnet.module_core.nnx import static as static
from linnet.module_core.nnx import switch as switch
from linnet.module_core.nnx import to_flat_state as to_flat_state
from linnet.module_core.nnx import to_pure_dict as to_pure_dict
from linnet.module_core.nnx import to_tree as to_tree
from linnet.module_core.nnx import transform_metadata as transform_metadata
from linnet.module_core.nnx import unflatten as unflatten
from linnet.module_core.nnx import unpack as unpack
from linnet.module_core.nnx import unstack_layers as unstack_layers
from linnet.module_core.nnx import update as update
from linnet.module_core.nnx import update_context as update_context
from linnet.module_core.nnx import use_eager_sharding as use_eager_sharding
from linnet.module_core.nnx import using_eager_sharding as using_eager_sharding
from linnet.module_core.nnx import value_and_grad as value_and_grad
from linnet.module_core.nnx import var_defaults as var_defaults
from linnet.module_core.nnx import variable_name_from_type as variable_name_from_type
from linnet.module_core.nnx import variable_type_from_name as variable_type_from_name
from linnet.module_core.nnx import variables as variables
from linnet.module_core.nnx import vars_as as vars_as
from linnet.module_core.nnx import view as view
from linnet.module_core.nnx import view_info as view_info
from linnet.module_core.nnx import vjp as vjp
from linnet.module_core.nnx import vmap as vmap
from linnet.module_core.nnx import while_loop as while_loop
from linnet.module_core.nnx import with_attributes as with_attributes
from linnet.module_core.nnx import with_metadata as with_metadata
from linnet.module_core.nnx import with_partitioning as with_partitioning
from linnet.module_core.nnx import with_rngs as with_rngs
from linnet.module_core.nnx import with_vars as with_vars
from linnet.module_core.on_demand import names_on_demand as _names_on_demand

if _typing.TYPE_CHECKING:
    from linnet.initializers import Initializer as Initializer
    from linnet.layers_attention.nnx import *  # noqa: F403
    from linnet.layers_linear.functional import gelu as gelu
    from linnet.layers_linear.functional import logsumexp as logsumexp
    from linnet.layers_linear.functional import relu as relu
    from linnet.layers_linear.functional import relu6 as relu6
    from linnet.layers_linear.functional import softmax as softmax
    from linnet.layers_linear.nnx import *  # noqa: F403
    from linnet.layers_norm.nnx import *  # noqa: F403
    from linnet.layers_recurrent.nnx import *  # noqa: F403
    from linnet.module_core.nnx import tabulate as tabulate

    from . import bridge as bridge
    from . import compat as compat
    from . import filterlib as filterlib
    from . import graph as graph
    from . import graphlib as graphlib
    from . import helpers as helpers
    from . import module as module
    from . import nn as nn
    from . import proxy_caller as proxy_caller
    from . import pytreelib as pytreelib
    from . import reprlib as reprlib
    from . import rnglib as rnglib
    from . import spmd as spmd
    from . import statelib as statelib
    from . import summary as summary
    from . import tracers as tracers
    from . import training as training
    from . import transforms as transforms
    from . import traversals as traversals
    from . import variablelib as variablelib
    from . import visualization as visualization
    from .bridge import wrappers as wrappers
    from .nn import initializers as initializers
    from .training import metrics as metrics
    from .training import optimizer as optimizer

    object = pytreelib
    __version__: str
else:
    __getattr__, __dir__ = _names_on_demand(
        __name__,
        packages=[
            "linnet.layers_linear.nnx",
            "linnet.layers_norm.nnx",
            "linnet.layers_attention.nnx",
            "linnet.layers_recurrent.nnx",
        ],
        homes={
            "Initializer": "linnet.initializers:Initializer",
            "__version__": "linnet.linen.__about__:__version__",  # of the distribution
            "gelu": "linnet.layers_linear.functional:gelu",
            "initializers": ".nn.initializers",
            "logsumexp": "linnet.layers_linear.functional:logsumexp",
            "metrics": ".training.metrics",
            "object": ".pytreelib",
            "optimizer": ".training.optimizer",
            "relu": "linnet.layers_linear.functional:relu",
            "relu6": "linnet.layers_linear.functional:relu6",
            "softmax": "linnet.layers_linear.functional:softmax",
            "tabulate": "linnet.module_core.nnx:tabulate",
            "wrappers": ".bridge.wrappers",
        },
        elsewhere="._names_elsewhere",
    )
