"""The names of `flax.linen.normalization`, and helpers that norms of other libraries use."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from linnet.layers_norm.functional import _moments
from linnet.linen.normalization import *  # noqa: F403
from linnet.module_core.accepted import accepted as _accepted
from linnet.module_core.layers import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    axes_in_range,
)
from linnet.module_core.linen import Module
from linnet.module_core.typing import Initializer as _Initializer


def _canonicalize_axes(rank: int, axes: Axes) -> tuple[int, ...]:
    return tuple(sorted(set(axes_in_range(axes, rank, "axes"))))


def _compute_stats(
    x: Array,
    axes: Axes,
    dtype: DTypeLike | None,
    axis_name: AxisName | None = None,
    axis_index_groups: AxisIndexGroups | None = None,
    use_mean: bool = True,
    use_fast_variance: bool = True,
    mask: Array | None = None,
    force_float32_reductions: bool = True,
) -> tuple[Array, Array]:
    """Mean and variance of `x` over `axes`; zero and the mean square without `use_mean`."""
    x = jnp.asarray(x)
    reduced = _canonicalize_axes(x.ndim, axes)
    if not use_mean:
        square = _moments.mean_square(
            x,
            reduced,
            dtype=dtype,
            mask=mask,
            axis_name=axis_name,
            axis_index_groups=axis_index_groups,
            force_float32_reductions=force_float32_reductions,
        )
        return jnp.zeros_like(square), square
    mean, variance, _ = _moments.moments(
        x,
        reduced,
        dtype=dtype,
        mask=mask,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        use_fast_variance=use_fast_variance,
        force_float32_reductions=force_float32_reductions,
    )
    return mean, variance


def _normalize(
    mdl: Module,
    x: Array,
    mean: Array,
    var: Array,
    reduction_axes: Axes,
    feature_axes: Axes,
    dtype: DTypeLike | None,
    param_dtype: DTypeLike,
    epsilon: float,
    use_bias: bool,
    use_scale: bool,
    bias_init: _Initializer,
    scale_init: _Initializer,
    force_float32_reductions: bool = True,
) -> Array:
    """Normalizes `x` with these statistics; applies parameters "scale" and "bias" of a module."""
    _accepted(force_float32_reductions=force_float32_reductions)
    x = jnp.asarray(x)
    reduced = _canonicalize_axes(x.ndim, reduction_axes)
    features = _canonicalize_axes(x.ndim, feature_axes)
    shape = tuple(x.shape[i] for i in features)
    scale = mdl.param("scale", scale_init, shape, param_dtype) if use_scale else None
    bias = mdl.param("bias", bias_init, shape, param_dtype) if use_bias else None
    return _moments.normalize(
        x,
        mean,
        var,
        scale,
        bias,
        kept=tuple(i for i in range(x.ndim) if i not in reduced),
        features=features,
        epsilon=epsilon,
        dtype=dtype,
    )


def _abs_sq(x: Array) -> Array:
    return _moments.abs_square(jnp.asarray(x))


def _l2_normalize(x: Array, axis: Axes | None = None, eps: float = 1e-12) -> Array:
    square = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    return x * lax.rsqrt(square + eps)
