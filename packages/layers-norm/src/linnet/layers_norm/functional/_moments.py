"""Mean and variance over some axes, and normalization with them, shared by all norms.

    μ = E[x]    σ² = E[|x|²] - |μ|²    or, slower and safer,    σ² = E[|x - μ|²]

    y = (x - μ) · (scale / √(σ² + ε)) + bias

E is the mean over axes of the array, over the positions that a mask allows, and over a named axis
of devices. All three are known before the values, so one object, `_Average`, holds them, and the
code then reads like the formulas above. Statistics don't keep the reduced axes: they are broadcast
once, when they are combined with the array.

Shapes: K the axes that the reduction keeps, F the axes of scale and bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.errors import DtypeError, ShapeError
from linnet.module_core.layers import (
    Array,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    Shape,
    not_negative,
)
from linnet.module_core.layout import entries_of, layout_of, like, split, spread

from ._checks import as_mask, require_bound


class Moments(NamedTuple):
    """Mean and variance of an array along its kept axes.

    Attributes:
      mean: [*K].
      variance: [*K], real and never negative.
      observed: whether any value was averaged; [*K] if a mask decides.
    """

    mean: Array
    variance: Array
    observed: Array | bool


def moments(
    x: Array,
    axes: Shape,
    *,
    dtype: DTypeLike | None,
    mask: Array | None,
    axis_name: AxisName | None,
    axis_index_groups: AxisIndexGroups | None,
    use_fast_variance: bool,
    force_float32_reductions: bool,
) -> Moments:
    """Mean and variance over `axes`, both zero where no value is averaged."""
    average = _Average(x, axes, mask, axis_name, axis_index_groups)
    x = lax.convert_element_type(x, _statistics_dtype(x, dtype, force_float32_reductions))
    if use_fast_variance:
        # One pass over memory. Rounding can push the difference below zero, and √ of that is NaN.
        mean, square = average(x, abs_square(x))  # [*K]
        difference = lax.sub(square, abs_square(mean))
        variance = lax.max(constant(0, difference.dtype), difference)
    else:
        (mean,) = average(x)
        centered = lax.sub(x, spread(mean, average.kept, x))  # [*x]
        (variance,) = average(abs_square(centered))
    return Moments(mean, variance, average.observed)


def mean_square(
    x: Array,
    axes: Shape,
    *,
    dtype: DTypeLike | None,
    mask: Array | None,
    axis_name: AxisName | None,
    axis_index_groups: AxisIndexGroups | None,
    force_float32_reductions: bool,
) -> Array:
    """E[|x|²] over `axes`, zero where no value is averaged: [*K]."""
    average = _Average(x, axes, mask, axis_name, axis_index_groups)
    x = lax.convert_element_type(x, _statistics_dtype(x, dtype, force_float32_reductions))
    return average(abs_square(x))[0]


class _Average:
    """Means over axes of arrays of one shape, over unmasked positions, and over devices.

    Attributes:
      kept: the axes that remain.
      observed: whether any value is averaged; [*K] if a mask decides.
    """

    def __init__(
        self,
        x: Array,
        axes: Shape,
        mask: Array | None,
        axis_name: AxisName | None,
        axis_index_groups: AxisIndexGroups | None,
    ) -> None:
        self.axes, shape = axes, x.shape
        self.kept = tuple(i for i in range(len(shape)) if i not in axes)
        self.devices: dict[str, Any] | None = None
        if axis_name is not None:
            require_bound(axis_name)
            self.devices = {"axis_name": axis_name, "axis_index_groups": axis_index_groups}
        self.size = math.prod(shape[i] for i in axes)
        self.observed: Array | bool = not isinstance(self.size, int) or self.size > 0
        self.mask = None
        if mask is not None:
            self.mask = like(as_mask(mask, shape), x)
            # Counted in integers: float32 stops counting at 2²⁴.
            count = lax.reduce_sum(lax.convert_element_type(self.mask, np.int32), axes)  # [*K]
            self.count = self._over_devices(lax.psum, [count])[0]
            self.observed = lax.gt(self.count, np.int32(0))

    def __call__(self, *values: Array) -> list[Array]:
        """The mean of each value: [*K], in its dtype."""
        if self.mask is None:
            # All devices hold the same number of values: the mean of their means is the mean.
            means = [self._quotient(self._total(v), v.dtype) for v in values]
            return self._over_devices(lax.pmean, means)
        # A mask may leave more values on one device than on another: totals are added before the
        # division.
        totals = self._over_devices(lax.psum, [self._total(v) for v in values])
        return [self._quotient(t, v.dtype) for t, v in zip(totals, values, strict=True)]

    def _total(self, value: Array) -> Array:
        # In float32 or wider: the sum of 4096 bfloat16 numbers has three significant bits left.
        wide = common_dtype(value.dtype, np.dtype(np.float32))
        value = lax.convert_element_type(value, wide)
        if self.mask is not None:
            value = lax.select(self.mask, value, lax.full_like(value, 0))
        return lax.reduce_sum(value, self.axes)  # [*K]

    def _quotient(self, total: Array, dtype: np.dtype[Any]) -> Array:
        # The mean of no values (an empty batch, a row of padding) is zero, not NaN.
        real = np.zeros((), total.dtype).real.dtype
        count: Any
        if self.mask is not None:
            count = lax.convert_element_type(lax.max(self.count, np.int32(1)), real)
        elif not isinstance(self.size, int):  # unknown in an exported program
            count = lax.convert_element_type(self.size, real)
        elif is_complex(total.dtype):
            count = constant(max(self.size, 1), real)
        else:
            # XLA compiles a division by a known number as a multiplication, as in jnp.mean. A
            # division of one number by another, compiled alone, stays a division: the mean of a
            # single row would differ from that of the same row among others.
            mean = lax.mul(total, np.reciprocal(constant(max(self.size, 1), real)))
            return lax.convert_element_type(mean, dtype)
        if is_complex(total.dtype):  # division by a complex number rounds more often
            mean = lax.complex(lax.div(lax.real(total), count), lax.div(lax.imag(total), count))
        else:
            mean = lax.div(total, count)
        return lax.convert_element_type(mean, dtype)

    def _over_devices(self, reduce: Callable[..., Any], values: list[Array]) -> list[Array]:
        if self.devices is None:
            return values
        # Stacked, since the cost of a collective of a few numbers is its latency.
        if len({v.dtype for v in values}) > 1 or len(values) == 1:
            return [reduce(v, **self.devices) for v in values]
        stacked = reduce(lax.concatenate([v[None] for v in values], 0), **self.devices)  # [n, *K]
        return [lax.index_in_dim(stacked, i, keepdims=False) for i in range(len(values))]


def normalize(
    x: Array,
    mean: Array | None,
    variance: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    kept: Shape,
    features: Shape,
    epsilon: float,
    dtype: DTypeLike | None,
) -> Array:
    """(x - mean) · (scale / √(variance + epsilon)) + bias.

    Args:
      x: any shape.
      mean: [*K], or None for zero.
      variance: [*K].
      scale, bias: [*F], or None.
      kept: the axes of `x` that mean and variance have, ascending.
      features: the axes of `x` that scale and bias have, ascending.
      epsilon: added to the variance.
      dtype: dtype of the result; None for the common type of `x`, `scale` and `bias`.

    Raises:
      ShapeError: `scale` or `bias` doesn't fit `x` along `features`.
      DtypeError: `dtype` is real while `x` is complex.
    """
    not_negative(epsilon, "epsilon")
    result_dtype = canonicalize_dtype(x, scale, bias, dtype=dtype)
    _keep_imaginary(x, result_dtype)
    feature_shape = tuple(x.shape[i] for i in features)
    y = x
    if mean is not None:
        y, mean = alike(y, mean)
        y = lax.sub(y, spread(mean, kept, x))  # [*x]
    # Scale times factor comes first: both are smaller than y, unless their axes differ.
    factor = lax.rsqrt(lax.add(variance, constant(epsilon, variance.dtype)))  # [*K]
    varies = kept
    if scale is not None:
        _require_shape(scale, feature_shape, "scale", x.shape)
        factor, scale = alike(factor, scale)
        varies = tuple(sorted({*kept, *features}))
        factor = lax.mul(_among(factor, kept, varies, x), _among(scale, features, varies, x))
    y, factor = alike(y, factor)
    y = lax.mul(y, spread(factor, varies, x))
    if bias is not None:
        _require_shape(bias, feature_shape, "bias", x.shape)
        y, bias = alike(y, bias)
        y = lax.add(y, spread(bias, features, x))
    return lax.convert_element_type(y, result_dtype)


def _among(array: Array, axes: Shape, varies: Shape, x: Array) -> Array:
    """An array along the axes `varies` of `x`, from one along `axes`."""
    if axes == varies:
        return array
    shape = tuple(x.shape[i] for i in varies)
    layout = layout_of(x)
    if layout is not None:
        entries = entries_of(layout, x.ndim)
        layout = split(layout, (entries[i] for i in varies))
    own = tuple(varies.index(i) for i in axes)
    return lax.broadcast_in_dim(array, shape, own, out_sharding=layout)


def _require_shape(array: Array, expected: Shape, what: str, inputs: Shape) -> None:
    if array.shape != expected:
        raise ShapeError(
            f"{what} has shape {array.shape}, expected {expected} for inputs of shape {inputs}.",
            hint="It must have the inputs' sizes along the feature axes, in ascending order.",
        )


def _statistics_dtype(x: Array, dtype: DTypeLike | None, force_float32: bool) -> np.dtype[Any]:
    """The dtype of the statistics: the computation dtype, or float32 if that is narrower."""
    wanted = canonicalize_dtype(x, dtype=dtype)
    _keep_imaginary(x, wanted)
    # The sum of 4096 bfloat16 squares has three significant bits left.
    return common_dtype(wanted, np.dtype(np.float32)) if force_float32 else wanted


def _keep_imaginary(x: Array, dtype: np.dtype[Any]) -> None:
    if is_complex(x.dtype) and not is_complex(dtype):
        raise DtypeError(
            f"Complex inputs (dtype {x.dtype}) cannot be normalized in dtype={dtype.name}: the "
            "imaginary part would be lost.",
            hint="Leave dtype out, or give complex64 or complex128.",
        )


def abs_square(x: Array) -> Array:
    """|x|², real."""
    if is_complex(x.dtype):
        return lax.add(lax.square(lax.real(x)), lax.square(lax.imag(x)))
    return lax.square(x)


def constant(value: float | Array, dtype: np.dtype[Any]) -> Array | np.ndarray[Any, np.dtype[Any]]:
    """A number as a scalar of the given dtype; a Python number becomes a literal."""
    if isinstance(value, int | float):
        return np.asarray(value, dtype)
    return lax.convert_element_type(value, dtype)


def alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays in their common type."""
    if a.dtype == b.dtype:
        return a, b
    dtype = common_dtype(a.dtype, b.dtype)
    return lax.convert_element_type(a, dtype), lax.convert_element_type(b, dtype)


@cache
def common_dtype(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The narrowest dtype that holds both."""
    # The norm itself chooses the types of statistics and parameters: strict promotion should not
    # forbid float32 statistics of bfloat16 activations.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.dtype(jnp.promote_types(a, b))


def wide(x: Array) -> Array:
    """`x` in float32, or in its own dtype if that is wider."""
    return lax.convert_element_type(x, common_dtype(x.dtype, np.dtype(np.float32)))


def is_complex(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is complex."""
    return dtype.kind == "c"
