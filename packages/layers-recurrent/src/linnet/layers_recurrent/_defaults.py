"""What the cells' fields share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid, tanh
from jax.typing import DTypeLike

from linnet.initializers import Initializer, lecun_normal, ones_init, orthogonal, zeros_init
from linnet.layers_recurrent.functional._checks import integer, shape_of, vector_features

Array = jax.Array
Activation = Callable[..., Any]

default_kernel_init: Initializer = lecun_normal()
default_recurrent_kernel_init: Initializer = orthogonal()
default_bias_init: Initializer = zeros_init()
default_forget_bias_init: Initializer = ones_init()
default_carry_init: Initializer = zeros_init()

_SIGMOIDS = (sigmoid, lax.logistic)
_TANHS = (tanh, jnp.tanh, lax.tanh)


def usual(activation_fn: Activation, gate_fn: Activation = sigmoid) -> bool:
    """Whether a cell's activations are those of the sequence functions: σ and tanh."""
    return any(gate_fn is f for f in _SIGMOIDS) and any(activation_fn is f for f in _TANHS)


__all__ = [
    "Activation",
    "Array",
    "DTypeLike",
    "Initializer",
    "default_bias_init",
    "default_carry_init",
    "default_forget_bias_init",
    "default_kernel_init",
    "default_recurrent_kernel_init",
    "integer",
    "shape_of",
    "sigmoid",
    "tanh",
    "usual",
    "vector_features",
]
