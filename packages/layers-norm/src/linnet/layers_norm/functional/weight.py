"""Weight normalization (Salimans & Kingma 2016, arXiv:1602.07868): division by length.

    W / |W| · scale        |W| = √(Σ |w|² + ε) over all but `feature_axes`

Length and direction of each feature's weights become separate parameters.
"""

from __future__ import annotations

import numpy as np
from jax import lax

from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import Array, Axes, DTypeLike, as_array, axes_of, not_negative

from ._moments import abs_square, alike, common_dtype, constant


def weight_norm(
    kernel: Array,
    scale: Array | None = None,
    *,
    feature_axes: Axes | None = -1,
    epsilon: float = 1e-12,
    dtype: DTypeLike | None = None,
) -> Array:
    """Divides the weights of each feature by their length, then multiplies by `scale`.

    Args:
      kernel: any shape.
      scale: the shape of `kernel` along `feature_axes` in ascending order, or None.
      feature_axes: the axes along which each index has a separate length; None for a single length
        of all weights.
      epsilon: added to the squared length.
      dtype: dtype of the result; None for the common type of `kernel` and `scale`.

    Returns:
      An array of the shape of `kernel`.

    Raises:
      ArgumentError: an axis is out of range or named twice, or `epsilon` is negative.
      ShapeError: `scale` doesn't fit `kernel` along `feature_axes`.

    >>> import jax.numpy as jnp
    >>> weight_norm(jnp.array([[3.0, 0.0], [4.0, 2.0]]), jnp.array([1.0, 10.0])).round(3)
    Array([[ 0.6,  0. ],
           [ 0.8, 10. ]], dtype=float32)
    """
    kernel = as_array(kernel, "kernel")
    not_negative(epsilon, "epsilon")
    axes = () if feature_axes is None else feature_axes
    features = axes_of(axes, kernel.ndim, "feature_axes", "the weights")
    feature_shape = tuple(kernel.shape[i] for i in features)
    if scale is not None and scale.shape != feature_shape:
        raise ShapeError(
            f"scale has shape {scale.shape}, expected {feature_shape} for weights of shape "
            f"{kernel.shape} with feature_axes={feature_axes!r}.",
            hint="It must have the weights' sizes along the feature axes, in ascending order.",
        )
    result_dtype = canonicalize_dtype(kernel, scale, dtype=dtype)
    # In float32 or wider: in float16 ε would be zero, and the gradient at zero infinite.
    wide = lax.convert_element_type(kernel, common_dtype(kernel.dtype, np.dtype(np.float32)))
    others = tuple(i for i in range(kernel.ndim) if i not in features)
    square = lax.reduce_sum(abs_square(wide), others)  # [*features]
    inverse = lax.rsqrt(lax.add(square, constant(epsilon, square.dtype)))
    y, inverse = alike(wide, inverse)
    y = lax.mul(y, lax.broadcast_in_dim(inverse, kernel.shape, features))  # [*kernel]
    if scale is not None:
        y, scale = alike(y, scale)
        y = lax.mul(y, lax.broadcast_in_dim(scale, kernel.shape, features))
    return lax.convert_element_type(y, result_dtype)
