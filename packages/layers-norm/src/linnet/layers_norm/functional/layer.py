"""Layer normalization (Ba, Kiros & Hinton 2016, arXiv:1607.06450): over an example's features.

    y = (x - μ) / √(σ² + ε) · scale + bias        μ, σ² over `reduction_axes`

This is the general case: instance normalization and, apart from its groups, group normalization are
layer normalizations over other axes.
"""

from __future__ import annotations

from linnet.module_core.layers import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    as_array,
    axes_of,
)

from ._moments import moments, normalize


def layer_norm(
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    reduction_axes: Axes = -1,
    feature_axes: Axes = -1,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    mask: Array | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: AxisIndexGroups | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> Array:
    """Normalizes `x` over `reduction_axes`, then scales and shifts along `feature_axes`.

    Args:
      x: any shape and type; integers become float32.
      scale, bias: the shape of `x` along `feature_axes` in ascending order, or None.
      reduction_axes: the axes over which mean and variance are computed.
      feature_axes: the axes along which scale and bias differ.
      epsilon: added to the variance (same unit as x²).
      dtype: dtype of the result; None for the common type of `x`, `scale` and `bias`.
      mask: broadcastable to `x`; False positions are excluded from the statistics, but are
        normalized as well. Where everything is masked, mean and variance are 0.
      axis_name: a mapped axis over which the statistics are also computed, weighted by the number
        of unmasked positions.
      axis_index_groups: indices along `axis_name` that belong together; None for all.
      use_fast_variance: E[|x|²] - |μ|² in one pass over memory; otherwise E[|x - μ|²], which stays
        accurate where the mean is many times the standard deviation.
      force_float32_reductions: computes the statistics in float32 or wider; otherwise in `dtype` or
        the dtype of `x`, where squares above 65504 are infinite in float16.

    Returns:
      An array of the shape of `x`.

    Raises:
      ArgumentError: an axis is out of range or named twice, or `axis_name` isn't mapped over.
      ShapeError: `scale` or `bias` doesn't fit `x` along `feature_axes`, or `mask` doesn't.
      DtypeError: `dtype` is an integer dtype, or real while `x` is complex.

    >>> import jax.numpy as jnp
    >>> layer_norm(jnp.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])).round(3)
    Array([[-1.225,  0.   ,  1.225],
           [-1.225,  0.   ,  1.225]], dtype=float32)
    """
    x = as_array(x)
    reduced = axes_of(reduction_axes, x.ndim, "reduction_axes")
    features = axes_of(feature_axes, x.ndim, "feature_axes")
    mean, variance, _ = moments(
        x,
        reduced,
        dtype=dtype,
        mask=mask,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        use_fast_variance=use_fast_variance,
        force_float32_reductions=force_float32_reductions,
    )  # [*x without reduced]
    return normalize(
        x,
        mean,
        variance,
        scale,
        bias,
        kept=tuple(i for i in range(x.ndim) if i not in reduced),
        features=features,
        epsilon=epsilon,
        dtype=dtype,
    )
