"""Activation functions: those of `jax.nn`, some of them quicker to trace, and PReLU."""

import typing as _typing

from jax.nn import (
    celu,
    elu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    one_hot,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    standardize,
    swish,
)
from jax.numpy import tanh

from linnet.layers_linear.functional import gelu, logsumexp, relu, relu6, softmax
from linnet.module_core.linen import Module, compact
from linnet.module_core.on_demand import names_on_demand as _names_on_demand
from linnet.module_core.typing import Array, Dtype

if _typing.TYPE_CHECKING:
    from linnet.layers_linear.linen import Dense, PReLU
else:  # `linnet.linen` has the functions from here, without loading layers
    __getattr__, __dir__ = _names_on_demand(
        __name__,
        homes={
            "Dense": "linnet.layers_linear.linen:Dense",
            "PReLU": "linnet.layers_linear.linen:PReLU",
        },
    )

normalize = standardize
"""An older name of `standardize`."""

__all__ = [
    "Array",
    "Dense",
    "Dtype",
    "Module",
    "PReLU",
    "celu",
    "compact",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "normalize",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "standardize",
    "swish",
    "tanh",
]
