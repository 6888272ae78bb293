"""Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022): over space alone.

y = (x - μ) / √(σ² + ε) · scale + bias        μ, σ² over all but the batch and `feature_axes`
"""

from __future__ import annotations

from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    as_array,
    axes_of,
)

from .layer import layer_norm


def instance_norm(
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    feature_axes: Axes = -1,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    mask: Array | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: AxisIndexGroups | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> Array:
    """Normalizes each channel of each example of `x`, then scales and shifts along `feature_axes`.

    Args:
      x: [B, ...], any type; integers become float32.
      scale, bias: the shape of `x` along `feature_axes` in ascending order, or None.
      feature_axes: the channels; never the batch, which is the first axis.
      epsilon, dtype, mask, axis_name, axis_index_groups, use_fast_variance,
        force_float32_reductions: see `layer_norm`.

    Returns:
      An array of the shape of `x`.

    Raises:
      ArgumentError: `feature_axes` contains the batch; see also `layer_norm`.
      ShapeError, DtypeError: see `layer_norm`.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[[1.0, 60.0], [2.0, 40.0], [3.0, 20.0]]])  # two channels of three pixels
    >>> instance_norm(x).round(3)
    Array([[[-1.225,  1.225],
            [ 0.   ,  0.   ],
            [ 1.225, -1.225]]], dtype=float32)
    """
    x = as_array(x)
    features = axes_of(feature_axes, x.ndim, "feature_axes")
    if 0 in features:
        raise ArgumentError(
            f"feature_axes={feature_axes!r} contains the leading axis of the inputs, whose shape "
            f"is {x.shape}; that axis is the batch.",
            hint="Add a batch dimension, e.g. with x[None], or name other axes.",
        )
    return layer_norm(
        x,
        scale,
        bias,
        reduction_axes=tuple(i for i in range(1, x.ndim) if i not in features),
        feature_axes=features,
        epsilon=epsilon,
        dtype=dtype,
        mask=mask,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        use_fast_variance=use_fast_variance,
        force_float32_reductions=force_float32_reductions,
    )
