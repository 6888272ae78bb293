"""Root-mean-square normalization (Zhang & Sennrich 2019, arXiv:1910.07467).

y = x / √(E[|x|²] + ε) · scale        E over `reduction_axes`

With `zero_centered`, 1 + scale replaces scale, as in the Gemma models (arXiv:2403.08295): weight
decay then pulls the factor toward one instead of zero.
"""

from __future__ import annotations

from jax import lax

from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.layers import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    as_array,
    axes_of,
)

from ._moments import constant, mean_square, normalize, wide


def rms_norm(
    x: Array,
    scale: Array | None = None,
    *,
    reduction_axes: Axes = -1,
    feature_axes: Axes = -1,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    mask: Array | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: AxisIndexGroups | None = None,
    force_float32_reductions: bool = True,
    zero_centered: bool = False,
) -> Array:
    """Divides `x` by its root mean square over `reduction_axes`, then scales along `feature_axes`.

    Args:
      x: any shape and type; integers become float32.
      scale: the shape of `x` along `feature_axes` in ascending order, or None.
      reduction_axes, feature_axes, epsilon, dtype, mask, axis_name, axis_index_groups,
        force_float32_reductions: see `layer_norm`.
      zero_centered: multiplies by 1 + scale, a sum in float32 or wider.

    Returns:
      An array of the shape of `x`.

    Raises:
      ArgumentError, ShapeError, DtypeError: see `layer_norm`.

    >>> import jax.numpy as jnp
    >>> rms_norm(jnp.array([3.0, 3.0, -3.0])).round(3)
    Array([ 1.,  1., -1.], dtype=float32)
    >>> rms_norm(jnp.array([3.0, -3.0]), jnp.array([0.0, 1.0]), zero_centered=True).round(3)
    Array([ 1., -2.], dtype=float32)
    """
    x = as_array(x)
    reduced = axes_of(reduction_axes, x.ndim, "reduction_axes")
    features = axes_of(feature_axes, x.ndim, "feature_axes")
    square = mean_square(
        x,
        reduced,
        dtype=dtype,
        mask=mask,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        force_float32_reductions=force_float32_reductions,
    )  # [*x without reduced]
    if scale is not None and zero_centered:
        # 1 + 0.003 is 1 in bfloat16.
        dtype = canonicalize_dtype(x, scale, dtype=dtype)
        scale = wide(as_array(scale, "scale"))
        scale = lax.add(scale, constant(1, scale.dtype))
    return normalize(
        x,
        None,
        square,
        scale,
        None,
        kept=tuple(i for i in range(x.ndim) if i not in reduced),
        features=features,
        epsilon=epsilon,
        dtype=dtype,
    )
