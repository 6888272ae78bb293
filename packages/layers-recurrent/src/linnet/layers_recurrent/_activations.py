"""The activation functions that the sequence functions support."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid, tanh

from linnet.module_core.layers import Activation

_SIGMOIDS = (sigmoid, lax.logistic)
_TANHS = (tanh, jnp.tanh, lax.tanh)


def usual(activation_fn: Activation, gate_fn: Activation = sigmoid) -> bool:
    """Whether a cell's activations are those of the sequence functions: σ and tanh."""
    return any(gate_fn is f for f in _SIGMOIDS) and any(activation_fn is f for f in _TANHS)
