"""Neural networks as immutable modules: everything that linen has, under one name.

This package holds nothing of its own; each name stands in the package that its module says.

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
    BatchApply,
    DenyList,
    Module,
    Sequential,
    Variable,
    apply,
    compact,
    compact_name_scope,
    disable_named_call,
    enable_named_call,
    init,
    init_with_output,
    intercept_methods,
    merge_param,
    nowrap,
    override_named_call,
    share_scope,
    tabulate,
    unbox,
)
from linnet.struct import FrozenDict

from . import (
    activation,
    batch_apply,
    combinators,
    dtypes,
    initializers,
    linear,
    module,
    pooling,
    stochastic,
    summary,
)
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

__all__ = [
    "BatchApply",
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "DenyList",
    "Dropout",
    "Einsum",
    "Embed",
    "FrozenDict",
    "Module",
    "PReLU",
    "Sequential",
    "Variable",
    "__version__",
    "activation",
    "apply",
    "avg_pool",
    "batch_apply",
    "celu",
    "combinators",
    "compact",
    "compact_name_scope",
    "disable_named_call",
    "dtypes",
    "elu",
    "enable_named_call",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "init",
    "init_with_output",
    "initializers",
    "intercept_methods",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "max_pool",
    "merge_param",
    "min_pool",
    "module",
    "normalize",
    "nowrap",
    "one_hot",
    "ones",
    "ones_init",
    "override_named_call",
    "pool",
    "pooling",
    "relu",
    "relu6",
    "selu",
    "share_scope",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "standardize",
    "stochastic",
    "summary",
    "swish",
    "tabulate",
    "tanh",
    "unbox",
    "zeros",
    "zeros_init",
]
