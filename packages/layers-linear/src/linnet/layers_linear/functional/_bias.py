"""Adds a bias along the dimensions that it has."""

from __future__ import annotations

from jax import lax

from linnet.module_core.layers import Array, Shape
from linnet.module_core.layout import layout_of, like


def add_bias(y: Array, bias: Array, shape: Shape | None = None) -> Array:
    """`y + bias`, the bias reshaped to `shape` (default: ones, then its own dimensions).

    `y + bias` would broadcast as well, but takes three times as long to trace.
    """
    if shape is None:
        shape = (1,) * (y.ndim - bias.ndim) + bias.shape
    bias = lax.reshape(bias, shape)  # [1, ..., 1, *bias]
    if layout_of(bias) is not None:
        bias = like(bias, y)
    # A user's dot_general may return a different dtype: the operator promotes.
    return lax.add(y, bias) if y.dtype == bias.dtype else y + bias
