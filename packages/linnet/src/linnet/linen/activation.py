"""Activation functions: those of `jax.nn`, some of them quicker to trace, and PReLU."""

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
from linnet.layers_linear.linen import Dense, PReLU
from linnet.module_core.linen import Module, compact
from linnet.module_core.typing import Array, Dtype

normalize = standardize
"""An older name for `standardize`."""

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
