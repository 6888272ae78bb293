"""Gated linear units (Dauphin et al. 2017, arXiv:1612.08083; Shazeer 2020, arXiv:2002.05202).

    h = φ(gate(x)) ⊙ up(x)        [..., H]
    y = down(h)                   [..., F]

The maps are affine. This file computes the product in the first line; `dense` computes the rest.
φ = σ gives the GLU of the first paper; SiLU gives SwiGLU, GELU gives GeGLU, and ReLU gives ReGLU.
"""

from __future__ import annotations

import jax.numpy as jnp

from linnet.module_core.errors import ArgumentTypeError, ShapeError, describe
from linnet.module_core.layers import Activation, Array, as_array, same_shape, vector_features

from .activation import silu


def gated(gate: Array, up: Array, *, activation: Activation = silu) -> Array:
    """Multiplies `up` by the activated gate.

    Args:
      gate: [..., H].
      up: [..., H].
      activation: φ, applied to `gate`.

    Returns:
      [..., H].

    Raises:
      ArgumentTypeError: `activation` isn't a function.
      ShapeError: `gate` and `up` have different shapes.

    >>> import jax, jax.numpy as jnp
    >>> gated(jnp.array([-1.0, 2.0]), jnp.array([3.0, 4.0]), activation=jax.nn.relu)
    Array([0., 8.], dtype=float32)
    """
    gate, up = as_array(gate, "gate"), as_array(up, "up")
    same_shape(up, gate.shape, "up", hint="It has one number for each number of the gate.")
    return activated(gate, activation) * up


def gated_halves(gate_and_up: Array, *, activation: Activation = silu) -> Array:
    """`gated` of the two halves of the last dimension: first the gate, then what it multiplies.

    Args:
      gate_and_up: [..., 2H], for example the output of one `dense` with both kernels side by side.
      activation: φ, applied to the first half.

    Returns:
      [..., H].

    Raises:
      ArgumentTypeError: `activation` isn't a function.
      ShapeError: the last dimension is odd.

    >>> import jax, jax.numpy as jnp
    >>> gated_halves(jnp.array([-1.0, 2.0, 3.0, 4.0]), activation=jax.nn.relu)
    Array([0., 8.], dtype=float32)
    """
    gate_and_up = as_array(gate_and_up, "gate_and_up")
    features = vector_features(gate_and_up.shape, "gate_and_up")
    if features % 2:
        raise ShapeError(
            f"gate_and_up has shape {gate_and_up.shape}, whose last dimension is odd.",
            hint="Its first half is the gate, and its second half is what the gate multiplies.",
        )
    gate, up = jnp.split(gate_and_up, 2, axis=-1)
    return gated(gate, up, activation=activation)


def activated(x: Array, activation: Activation) -> Array:
    """`activation(x)`.

    Raises:
      ArgumentTypeError: `activation` isn't a function.
    """
    if not callable(activation):
        raise ArgumentTypeError(
            f"'activation' must be a function of an array, got {describe(activation)}.",
            hint="Pass a function such as jax.nn.silu.",
        )
    y: Array = activation(x)
    return y
