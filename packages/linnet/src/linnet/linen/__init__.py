"""Neural networks as immutable modules: everything that linen has, under one name.

This package holds nothing of its own; each name is defined in the package that its module names.
The core and the linear layers are there at once, other layers and namespaces (`nn.attention`) when
they are first asked for.

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

import importlib as _importlib
import typing as _typing

from linnet.initializers import ones, ones_init, zeros, zeros_init
from linnet.layers_linear.linen import (
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DenseGeneral,
    Dropout,
    Einsum,
    Embed,
    PReLU,
    avg_pool,
    max_pool,
    min_pool,
    pool,
)
from linnet.module_core.linen import (
    PARTITION_NAME,
    BatchApply,
    DenyList,
    LogicallyPartitioned,
    Module,
    Partitioned,
    Sequential,
    Variable,
    add_metadata_axis,
    apply,
    broadcast,
    checkpoint,
    compact,
    compact_name_scope,
    cond,
    custom_vjp,
    disable_named_call,
    enable_named_call,
    fold_rngs,
    get_logical_axis_rules,
    get_partition_spec,
    get_sharding,
    grad,
    init,
    init_with_output,
    intercept_methods,
    jit,
    jvp,
    logical_axis_rules,
    logical_to_mesh,
    logical_to_mesh_axes,
    logical_to_mesh_sharding,
    map_variables,
    merge_param,
    named_call,
    nowrap,
    override_named_call,
    remat,
    remat_scan,
    scan,
    set_logical_axis_rules,
    share_scope,
    switch,
    unbox,
    value_and_grad,
    vjp,
    vmap,
    while_loop,
    with_logical_constraint,
    with_logical_partitioning,
    with_partitioning,
)
from linnet.struct import FrozenDict

from . import activation, initializers
from .__about__ import __version__
from .activation import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    logsumexp,
    normalize,
    one_hot,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softmax,
    softplus,
    standardize,
    swish,
    tanh,
)

if _typing.TYPE_CHECKING:
    from linnet.layers_attention.linen import (
        MultiHeadAttention,
        MultiHeadDotProductAttention,
        SelfAttention,
        combine_masks,
        dot_product_attention,
        dot_product_attention_weights,
        make_attention_mask,
        make_causal_mask,
    )
    from linnet.layers_norm.linen import (
        BatchNorm,
        GroupNorm,
        InstanceNorm,
        LayerNorm,
        RMSNorm,
        SpectralNorm,
        WeightNorm,
    )
    from linnet.layers_recurrent.linen import (
        RNN,
        Bidirectional,
        ConvLSTMCell,
        GRUCell,
        LSTMCell,
        MGUCell,
        OptimizedLSTMCell,
        RNNCellBase,
        SimpleCell,
    )
    from linnet.module_core.linen import tabulate

    from . import (
        attention,
        batch_apply,
        combinators,
        dtypes,
        kw_only_dataclasses,
        linear,
        meta,
        module,
        normalization,
        partitioning,
        pooling,
        recurrent,
        spmd,
        stochastic,
        summary,
        transforms,
    )

__all__ = [
    "PARTITION_NAME",
    "RNN",
    "BatchApply",
    "BatchNorm",
    "Bidirectional",
    "Conv",
    "ConvLSTMCell",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "DenyList",
    "Dropout",
    "Einsum",
    "Embed",
    "FrozenDict",
    "GRUCell",
    "GroupNorm",
    "InstanceNorm",
    "LSTMCell",
    "LayerNorm",
    "LogicallyPartitioned",
    "MGUCell",
    "Module",
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "OptimizedLSTMCell",
    "PReLU",
    "Partitioned",
    "RMSNorm",
    "RNNCellBase",
    "SelfAttention",
    "Sequential",
    "SimpleCell",
    "SpectralNorm",
    "Variable",
    "WeightNorm",
    "__version__",
    "activation",
    "add_metadata_axis",
    "apply",
    "attention",
    "avg_pool",
    "batch_apply",
    "broadcast",
    "celu",
    "checkpoint",
    "combinators",
    "combine_masks",
    "compact",
    "compact_name_scope",
    "cond",
    "custom_vjp",
    "disable_named_call",
    "dot_product_attention",
    "dot_product_attention_weights",
    "dtypes",
    "elu",
    "enable_named_call",
    "fold_rngs",
    "gelu",
    "get_logical_axis_rules",
    "get_partition_spec",
    "get_sharding",
    "glu",
    "grad",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "init",
    "init_with_output",
    "initializers",
    "intercept_methods",
    "jit",
    "jvp",
    "kw_only_dataclasses",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "logical_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "logical_to_mesh_sharding",
    "logsumexp",
    "make_attention_mask",
    "make_causal_mask",
    "map_variables",
    "max_pool",
    "merge_param",
    "meta",
    "min_pool",
    "module",
    "named_call",
    "normalization",
    "normalize",
    "nowrap",
    "one_hot",
    "ones",
    "ones_init",
    "override_named_call",
    "partitioning",
    "pool",
    "pooling",
    "recurrent",
    "relu",
    "relu6",
    "remat",
    "remat_scan",
    "scan",
    "selu",
    "set_logical_axis_rules",
    "share_scope",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "spmd",
    "standardize",
    "stochastic",
    "summary",
    "swish",
    "switch",
    "tabulate",
    "tanh",
    "transforms",
    "unbox",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
    "with_logical_constraint",
    "with_logical_partitioning",
    "with_partitioning",
    "zeros",
    "zeros_init",
]

# What is loaded on first use: layers by the package that defines them ...
_LAYERS = {
    "linnet.layers_attention.linen": (
        "MultiHeadAttention",
        "MultiHeadDotProductAttention",
        "SelfAttention",
        "combine_masks",
        "dot_product_attention",
        "dot_product_attention_weights",
        "make_attention_mask",
        "make_causal_mask",
    ),
    "linnet.layers_norm.linen": (
        "BatchNorm",
        "GroupNorm",
        "InstanceNorm",
        "LayerNorm",
        "RMSNorm",
        "SpectralNorm",
        "WeightNorm",
    ),
    "linnet.layers_recurrent.linen": (
        "RNN",
        "Bidirectional",
        "ConvLSTMCell",
        "GRUCell",
        "LSTMCell",
        "MGUCell",
        "OptimizedLSTMCell",
        "RNNCellBase",
        "SimpleCell",
    ),
    "linnet.module_core.linen": ("tabulate",),
}
_HOME = {name: module for module, names in _LAYERS.items() for name in names}

# ... and namespaces.
_NAMESPACES = (
    "attention",
    "batch_apply",
    "combinators",
    "dtypes",
    "kw_only_dataclasses",
    "linear",
    "meta",
    "module",
    "normalization",
    "partitioning",
    "pooling",
    "recurrent",
    "spmd",
    "stochastic",
    "summary",
    "transforms",
)


def __getattr__(name: str) -> _typing.Any:
    if name in _HOME:
        found: _typing.Any = getattr(_importlib.import_module(_HOME[name]), name)
    elif name in _NAMESPACES:
        found = _importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
