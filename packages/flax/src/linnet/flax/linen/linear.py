"""The names of `flax.linen.linear`, and three of its helpers that layers of other libraries use."""

from collections.abc import Sequence

from jax import eval_shape as eval_shape
from jax import lax
from jax.core import ShapedArray as ShapedArray

from linnet.layers_linear.functional.conv import dimension_numbers
from linnet.linen.linear import *  # noqa: F403
from linnet.module_core.layers import axes_of


def _conv_dimension_numbers(input_shape: Sequence[int]) -> lax.ConvDimensionNumbers:
    """The layout of a convolution, channels last, of inputs [B, *spatial, D]."""
    return dimension_numbers(len(input_shape) - 2)


def _canonicalize_tuple(x: Sequence[int] | int) -> tuple[int, ...]:
    return (x,) if isinstance(x, int) else tuple(x)


def _normalize_axes(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    return axes_of(axes, ndim, "axes")
