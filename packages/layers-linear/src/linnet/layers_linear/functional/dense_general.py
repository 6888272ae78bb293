"""An affine map over several dimensions at once, with a separate map for each batch index.

    y[b, n, f] = Σ_c x[b, n, c] · kernel[b, c, f] + bias[b, f]

The dimensions form four groups, each of any rank: b batch (which kernel and bias have too), n the
remaining ones, c contracted, f features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jax import lax

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import (
    Array,
    DotGeneral,
    DTypeLike,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    Shape,
    axes_of,
    integers,
    same_shape,
)
from linnet.module_core.layout import dot_layout

from ._bias import add_bias
from ._options import checked_sharding, given


class DenseGeneralShapes(NamedTuple):
    """The roles of the inputs' dimensions, and the shapes of the parameters."""

    axes: Shape
    batch_dims: Shape
    kernel: Shape
    bias: Shape


def dense_general_shapes(
    input_shape: Shape,
    features: int | Sequence[int],
    axis: int | Sequence[int] = -1,
    batch_dims: Sequence[int] = (),
) -> DenseGeneralShapes:
    """The shapes of kernel and bias for an input.

    Args:
      input_shape: shape of the array to which the map is applied.
      features: sizes of the dimensions that replace `axis`.
      axis: the dimensions to contract, in any order; may count from the end.
      batch_dims: leading dimensions with a separate map for each index.

    Raises:
      ArgumentError: an axis is out of range, named twice or in both roles, or `batch_dims` are not
        the leading dimensions.

    >>> dense_general_shapes((8, 3, 6, 7), (4, 5), axis=(1, -1)).kernel
    (3, 7, 4, 5)
    """
    rank = len(input_shape)
    sizes = integers(features, "features")
    axes = axes_of(axis, rank, "axis")
    batch = axes_of(batch_dims, rank, "batch_dims")
    if batch != tuple(range(len(batch))):
        raise ArgumentError(
            f"batch_dims={batch_dims!r} are not the leading dimensions (0, 1, ...).",
            hint="Transpose the inputs so that these dimensions come first.",
        )
    if set(axes) & set(batch):
        raise ArgumentError(
            f"axis={axis!r} and batch_dims={batch_dims!r} name the same dimension of the inputs, "
            f"whose shape is {input_shape}.",
            hint=(
                "A dimension is either contracted, or a batch dimension with a separate kernel "
                "for each index."
            ),
        )
    batch_shape = tuple(input_shape[i] for i in batch)
    return DenseGeneralShapes(
        axes=axes,
        batch_dims=batch,
        kernel=batch_shape + tuple(input_shape[i] for i in axes) + sizes,
        bias=batch_shape + sizes,
    )


def dense_general(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    axis: int | Sequence[int] = -1,
    batch_dims: Sequence[int] = (),
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    dot_general: DotGeneral | None = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Contracts `axis` of `x` with `kernel` and adds `bias`.

    Args:
      x: [*batch, *rest and contracted dimensions, in any order].
      kernel: [*batch, *contracted (ascending), *features].
      bias: [*batch, *features], or None.
      axis: the dimensions of `x` to contract.
      batch_dims: the leading dimensions of `x` that `kernel` has too.
      dtype: the computation dtype; None for the common type of the arguments.
      precision: see `jax.lax.Precision`.
      dot_general: replaces `jax.lax.dot_general`.
      preferred_element_type: dtype of the accumulation and of the result.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [*batch, *rest, *features].

    Raises:
      ShapeError: `kernel` doesn't fit `x`, or `bias` the kernel.
      ArgumentError: the dimensions named don't exist or overlap.

    >>> import jax.numpy as jnp
    >>> dense_general(jnp.ones((2, 3, 6, 7)), jnp.ones((3, 7, 4, 5)), axis=(1, -1)).shape
    (2, 6, 4, 5)
    """
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    inner = len(integers(batch_dims, "batch_dims")) + len(integers(axis, "axis", least=None))
    features = kernel.shape[inner:]  # [*features]
    axes, batch, kernel_shape, bias_shape = dense_general_shapes(
        x.shape, features, axis, batch_dims
    )
    same_shape(
        kernel,
        kernel_shape,
        "kernel",
        hint=(
            f"Inputs of shape {x.shape} need this shape with axis={axis!r} and "
            f"batch_dims={batch_dims!r}: batch, contracted and feature dimensions in this order."
        ),
    )
    contracted = tuple(range(len(batch), inner))
    dimensions = ((axes, contracted), (batch, batch))
    if dot_general is None and checked_sharding(out_sharding) is None:
        out_sharding = dot_layout(x, kernel, dimensions)
    options = given(preferred_element_type=preferred_element_type, out_sharding=out_sharding)
    y: Array = (dot_general or lax.dot_general)(
        x, kernel, dimensions, precision=precision, **options
    )  # [*batch, *rest, *features]
    if bias is None:
        return y
    same_shape(
        bias, bias_shape, "bias", hint="It must have the kernel's batch and feature dimensions."
    )
    ones = (1,) * (x.ndim - inner)
    return add_bias(y, bias, bias_shape[: len(batch)] + ones + features)
