"""Neural networks as immutable modules: everything that linen has, under one name.

This package defines nothing itself; an object's `__module__` shows the package that defines it. The
core is loaded immediately, layers and namespaces (`nn.attention`) on first use.

>>> import jax, jax.numpy as jnp
>>> import linnet.linen as nn
>>> class MLP(nn.Module):
...     hidden: int
...
...     @nn.compact
...     def __call__(self, x):
...         x = nn.relu(nn.Dense(self.hidden)(x))
...         return nn.Dense(10)(x)
>>> model = MLP(hidden=32)
>>> variables = model.init(jax.random.key(0), jnp.ones((1, 64)))
>>> model.apply(variables, jnp.ones((5, 64))).shape
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

from linnet.initializers import ones as ones
from linnet.initializers import ones_init as ones_init
from linnet.initializers import zeros as zeros
from linnet.initializers import zeros_init as zeros_init
from linnet.module_core.linen import PARTITION_NAME as PARTITION_NAME
from linnet.module_core.linen import BatchApply as BatchApply
from linnet.module_core.linen import DenyList as DenyList
from linnet.module_core.linen import LogicallyPartitioned as LogicallyPartitioned
from linnet.module_core.linen import Module as Module
from linnet.module_core.linen import Partitioned as Partitioned
from linnet.module_core.linen import Repeat as Repeat
from linnet.module_core.linen import Sequential as Sequential
from linnet.module_core.linen import Variable as Variable
from linnet.module_core.linen import add_metadata_axis as add_metadata_axis
from linnet.module_core.linen import apply as apply
from linnet.module_core.linen import broadcast as broadcast
from linnet.module_core.linen import checkpoint as checkpoint
from linnet.module_core.linen import compact as compact
from linnet.module_core.linen import compact_name_scope as compact_name_scope
from linnet.module_core.linen import cond as cond
from linnet.module_core.linen import custom_vjp as custom_vjp
from linnet.module_core.linen import disable_named_call as disable_named_call
from linnet.module_core.linen import enable_named_call as enable_named_call
from linnet.module_core.linen import fold_rngs as fold_rngs
from linnet.module_core.linen import get_logical_axis_rules as get_logical_axis_rules
from linnet.module_core.linen import get_partition_spec as get_partition_spec
from linnet.module_core.linen import get_sharding as get_sharding
from linnet.module_core.linen import grad as grad
from linnet.module_core.linen import init as init
from linnet.module_core.linen import init_with_output as init_with_output
from linnet.module_core.linen import intercept_methods as intercept_methods
from linnet.module_core.linen import jit as jit
from linnet.module_core.linen import jvp as jvp
from linnet.module_core.linen import logical_axis_rules as logical_axis_rules
from linnet.module_core.linen import logical_to_mesh as logical_to_mesh
from linnet.module_core.linen import logical_to_mesh_axes as logical_to_mesh_axes
from linnet.module_core.linen import logical_to_mesh_sharding as logical_to_mesh_sharding
from linnet.module_core.linen import map_variables as map_variables
from linnet.module_core.linen import merge_param as merge_param
from linnet.module_core.linen import named_call as named_call
from linnet.module_core.linen import nowrap as nowrap
from linnet.module_core.linen import override_named_call as override_named_call
from linnet.module_core.linen import remat as remat
from linnet.module_core.linen import remat_scan as remat_scan
from linnet.module_core.linen import scan as scan
from linnet.module_core.linen import set_logical_axis_rules as set_logical_axis_rules
from linnet.module_core.linen import share_scope as share_scope
from linnet.module_core.linen import stack_layers as stack_layers
from linnet.module_core.linen import switch as switch
from linnet.module_core.linen import unbox as unbox
from linnet.module_core.linen import unstack_layers as unstack_layers
from linnet.module_core.linen import value_and_grad as value_and_grad
from linnet.module_core.linen import vjp as vjp
from linnet.module_core.linen import vmap as vmap
from linnet.module_core.linen import while_loop as while_loop
from linnet.module_core.linen import with_logical_constraint as with_logical_constraint
from linnet.module_core.linen import with_logical_partitioning as with_logical_partitioning
from linnet.module_core.linen import with_partitioning as with_partitioning
from linnet.module_core.on_demand import names_on_demand as _names_on_demand
from linnet.struct import FrozenDict as FrozenDict

from . import initializers as initializers
from .__about__ import __version__ as __version__

if _typing.TYPE_CHECKING:
    from linnet.layers_attention.linen import *  # noqa: F403
    from linnet.layers_linear.functional import gelu as gelu
    from linnet.layers_linear.functional import logsumexp as logsumexp
    from linnet.layers_linear.functional import relu as relu
    from linnet.layers_linear.functional import relu6 as relu6
    from linnet.layers_linear.functional import softmax as softmax
    from linnet.layers_linear.linen import *  # noqa: F403
    from linnet.layers_norm.linen import *  # noqa: F403
    from linnet.layers_recurrent.linen import *  # noqa: F403
    from linnet.module_core.linen import tabulate as tabulate

    from . import activation as activation
    from . import attention as attention
    from . import batch_apply as batch_apply
    from . import combinators as combinators
    from . import dtypes as dtypes
    from . import fp8_ops as fp8_ops
    from . import kw_only_dataclasses as kw_only_dataclasses
    from . import linear as linear
    from . import meta as meta
    from . import module as module
    from . import normalization as normalization
    from . import partitioning as partitioning
    from . import pooling as pooling
    from . import recurrent as recurrent
    from . import spmd as spmd
    from . import stochastic as stochastic
    from . import summary as summary
    from . import transforms as transforms
    from .activation import normalize as normalize
else:
    __getattr__, __dir__ = _names_on_demand(
        __name__,
        packages=[
            "linnet.layers_linear.linen",
            "linnet.layers_norm.linen",
            "linnet.layers_attention.linen",
            "linnet.layers_recurrent.linen",
        ],
        homes={
            "gelu": "linnet.layers_linear.functional:gelu",
            "logsumexp": "linnet.layers_linear.functional:logsumexp",
            "normalize": "jax.nn:standardize",
            "relu": "linnet.layers_linear.functional:relu",
            "relu6": "linnet.layers_linear.functional:relu6",
            "softmax": "linnet.layers_linear.functional:softmax",
            "tabulate": "linnet.module_core.linen:tabulate",
        },
        elsewhere="._names_elsewhere",
    )
