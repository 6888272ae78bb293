"""Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167): over all but the feature axes.

    y = (x - μ) / √(σ² + ε) · scale + bias

During training, μ and σ² are those of the batch, over all but the feature axes, and running
averages follow them; afterwards the averages replace them. Each of the three steps is a separate
function:

>>> import jax.numpy as jnp
>>> x = jnp.array([[1.0, 30.0], [3.0, 50.0]])
>>> mean, variance, observed = batch_moments(x)
>>> y = batch_norm(x, mean, variance)
>>> running_mean = running_average(jnp.zeros(2), mean, 0.9, observed=observed)
>>> running_mean
Array([0.2, 4. ], dtype=float32)
"""

from __future__ import annotations

from jax import lax

from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    Shape,
    as_array,
    axes_of,
)
from linnet.module_core.layout import like

from ._checks import check_momentum, feature_shape
from ._moments import Moments, alike, constant, moments, normalize


def batch_moments(
    x: Array,
    *,
    axis: Axes = -1,
    dtype: DTypeLike | None = None,
    mask: Array | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: AxisIndexGroups | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> Moments:
    """Mean and variance of `x` over all axes but `axis`.

    Args:
      x: any shape and type; integers become float32.
      axis: the feature axis, or several.
      dtype, mask, axis_name, axis_index_groups, use_fast_variance, force_float32_reductions: see
        `layer_norm`.

    Returns:
      Mean and (biased) variance, of the shape of `x` along `axis` in ascending order, and whether
      any value was averaged.

    Raises:
      ArgumentError, ShapeError, DtypeError: see `layer_norm`.

    >>> import jax.numpy as jnp
    >>> mean, variance, _ = batch_moments(jnp.array([[1.0, 30.0], [3.0, 50.0]]))
    >>> mean, variance
    (Array([ 2., 40.], dtype=float32), Array([  1., 100.], dtype=float32))
    """
    x = as_array(x)
    features = axes_of(axis, x.ndim, "axis")
    return moments(
        x,
        tuple(i for i in range(x.ndim) if i not in features),
        dtype=dtype,
        mask=mask,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        use_fast_variance=use_fast_variance,
        force_float32_reductions=force_float32_reductions,
    )


def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    axis: Axes = -1,
    epsilon: float = 1e-5,
    dtype: DTypeLike | None = None,
) -> Array:
    """Normalizes `x` with the given statistics, then scales and shifts along `axis`.

    Args:
      x: any shape and type; integers become float32.
      mean, variance: the shape of `x` along `axis` in ascending order.
      scale, bias: the same shape, or None.
      axis: the feature axis, or several.
      epsilon: added to the variance (same unit as x²).
      dtype: dtype of the result; None for the common type of `x`, `scale` and `bias`.

    Returns:
      An array of the shape of `x`.

    Raises:
      ArgumentError: an axis is out of range or named twice.
      ShapeError: a statistic, `scale` or `bias` doesn't fit `x` along `axis`.
      DtypeError: `dtype` is an integer dtype, or real while `x` is complex.

    >>> import jax.numpy as jnp
    >>> batch_norm(jnp.array([1.0, 2.0]), mean=jnp.ones(2), variance=jnp.full(2, 4.0)).round(3)
    Array([0. , 0.5], dtype=float32)
    """
    x = as_array(x)
    features = axes_of(axis, x.ndim, "axis")
    check_statistics(x.shape, mean, variance, axis)
    return normalize(
        x,
        mean,
        variance,
        scale,
        bias,
        kept=features,
        features=features,
        epsilon=epsilon,
        dtype=dtype,
    )


def check_statistics(shape: Shape, mean: Array, variance: Array, axis: Axes) -> None:
    """Checks that statistics fit inputs of a shape along `axis`.

    Raises:
      ShapeError: one of them doesn't fit.
    """
    expected = feature_shape(shape, axis, "axis")
    for name, statistic in (("mean", mean), ("variance", variance)):
        if statistic.shape != expected:
            raise ShapeError(
                f"{name} has shape {statistic.shape}, expected {expected} for inputs of shape "
                f"{shape} with axis={axis!r}.",
                hint=(
                    "It must have the inputs' sizes along the feature axes. Are these another "
                    "layer's statistics, or do the inputs have a different number of features "
                    "than at init?"
                ),
            )


def running_average(
    average: Array, value: Array, momentum: float = 0.99, *, observed: Array | bool = True
) -> Array:
    """The exponential moving average: momentum · average + (1 - momentum) · value.

    Args:
      average: the old average, any shape.
      value: the new value, of the same shape.
      momentum: the weight of the old average, within [0, 1].
      observed: False where no new value exists; the average doesn't change there.

    Returns:
      The new average.

    Raises:
      ArgumentError: `momentum` is outside [0, 1].
      ShapeError: the shapes differ.

    >>> import jax.numpy as jnp
    >>> running_average(jnp.array(1.0), jnp.array(2.0), 0.75)
    Array(1.25, dtype=float32)
    """
    check_momentum(momentum)
    if average.shape != value.shape:
        raise ShapeError(
            f"average has shape {average.shape}, but value has shape {value.shape}: they must "
            "match."
        )
    if observed is False:
        return average
    old = lax.mul(average, constant(momentum, average.dtype))
    new = lax.mul(like(value, average), constant(1 - momentum, value.dtype))
    updated = lax.add(*alike(old, new))
    if observed is True:
        return updated
    return lax.select(like(observed, average), *alike(updated, average))
