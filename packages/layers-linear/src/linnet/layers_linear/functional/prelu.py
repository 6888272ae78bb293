"""Parametric ReLU (He et al. 2015, arXiv:1502.01852).

y = x if x ≥ 0, else slope · x
"""

from __future__ import annotations

import jax.numpy as jnp

from linnet.module_core.layers import Array, as_array
from linnet.module_core.layout import like


def prelu(x: Array, negative_slope: Array) -> Array:
    """`x` where it is not negative, `negative_slope * x` elsewhere.

    Args:
      x: any shape.
      negative_slope: a scalar, or broadcastable to `x`.

    Returns:
      An array like `x`.

    >>> import jax.numpy as jnp
    >>> prelu(jnp.array([-2.0, 0.0, 2.0]), jnp.array(0.25))
    Array([-0.5,  0. ,  2. ], dtype=float32)
    """
    x = as_array(x)
    slope = like(jnp.asarray(negative_slope, x.dtype), x)
    return jnp.where(x >= 0, x, slope * x)
