"""Convolution with a separate kernel at each position, channels last.

    y[b, p, f] = Σ_{d, k} x[b, p · stride + k · dilation - low, d] · kernel[p, dk, f] + bias[p, f]

B batch, P positions, K kernel size (each with as many dimensions as the window), D features in,
F features out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.layers import (
    Array,
    DTypeLike,
    OutSharding,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    Shape,
    integers,
    same_shape,
)
from linnet.module_core.layout import automatic, is_on_mesh

from ._batch import flatten_batch, require_output, require_spatial, restore_batch
from ._bias import add_bias
from ._checks import per_dimension
from ._options import checked_sharding
from ._padding import (
    CONV_PADDINGS,
    LaxPadding,
    canonicalize_padding,
    causal_width,
    output_spatial,
    pad_beforehand,
    refuse_name_for_dilated_inputs,
)
from .conv import dimension_numbers, layout_of_windows, masked


class _Window(NamedTuple):
    """A window's geometry, with one entry for each spatial dimension."""

    size: Shape
    strides: Shape
    padding: LaxPadding
    input_dilation: Shape
    kernel_dilation: Shape


def _window(
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] | None,
    padding: PaddingLike,
    input_dilation: int | Sequence[int] | None,
    kernel_dilation: int | Sequence[int] | None,
) -> _Window:
    size = integers(kernel_size, "kernel_size", least=1)
    rank = len(size)
    window = _Window(
        size,
        per_dimension(strides, rank, "strides"),
        canonicalize_padding(padding, rank, CONV_PADDINGS),
        per_dimension(input_dilation, rank, "input_dilation"),
        per_dimension(kernel_dilation, rank, "kernel_dilation"),
    )
    refuse_name_for_dilated_inputs(window.padding, window.input_dilation)
    if window.padding == "CAUSAL":
        causal_width(size, window.kernel_dilation)
    return window


class ConvLocalShapes(NamedTuple):
    """The shapes of the parameters of `conv_local`."""

    kernel: Shape
    bias: Shape


def conv_local_shapes(
    input_shape: Shape,
    features: int,
    kernel_size: int | Sequence[int],
    *,
    strides: int | Sequence[int] | None = 1,
    padding: PaddingLike = "SAME",
    input_dilation: int | Sequence[int] | None = 1,
    kernel_dilation: int | Sequence[int] | None = 1,
) -> ConvLocalShapes:
    """The shapes of kernel and bias for an input.

    Args:
      input_shape: [*batch, *spatial, D].
      features: F.
      kernel_size: size of the window in each spatial dimension.
      strides: as for `conv`.
      padding: as for `conv`.
      input_dilation: as for `conv`.
      kernel_dilation: as for `conv`.

    Returns:
      (*P, D · K, F) and (*P, F).

    Raises:
      ShapeError: the input has too few dimensions.
      ArgumentError: the window's geometry is invalid.

    >>> conv_local_shapes((1, 8, 3), 4, 3, padding="VALID")
    ConvLocalShapes(kernel=(6, 9, 4), bias=(6, 4))
    """
    window = _window(kernel_size, strides, padding, input_dilation, kernel_dilation)
    return _shapes(input_shape, features, window)


def _shapes(input_shape: Shape, features: int, window: _Window) -> ConvLocalShapes:
    rank = len(window.size)
    require_spatial(input_shape, rank)
    spatial = input_shape[len(input_shape) - rank - 1 : -1]
    positions = output_spatial(
        spatial,
        window.size,
        window.strides,
        window.padding,
        window.input_dilation,
        window.kernel_dilation,
    )
    require_output(positions, spatial, window.size, "convolution's")
    patch = math.prod(window.size) * input_shape[-1]
    return ConvLocalShapes((*positions, patch, features), (*positions, features))


def conv_local(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] | None = 1,
    padding: PaddingLike = "SAME",
    input_dilation: int | Sequence[int] | None = 1,
    kernel_dilation: int | Sequence[int] | None = 1,
    mask: Array | None = None,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Multiplies each window of `x` by the kernel of its position and adds `bias`.

    Args:
      x: [*batch, *spatial, D], any number of batch dimensions.
      kernel: [*P, D · K, F]; a patch's entries are ordered by feature, then by offset.
      bias: [*P, F], or None.
      kernel_size: size of the window in each spatial dimension.
      strides: as for `conv`.
      padding: as for `conv`.
      input_dilation: as for `conv`.
      kernel_dilation: as for `conv`.
      mask: multiplied by the kernel, with its shape; or None.
      dtype: the computation dtype; None for the common type of the arguments.
      precision: see `jax.lax.Precision`.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [*batch, *P, F].

    Raises:
      ShapeError: `kernel`, `bias` or `mask` doesn't fit.
      ArgumentError: the window's geometry is invalid.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((1, 8, 3)), jnp.ones((6, 9, 4))
    >>> conv_local(x, kernel, kernel_size=3, padding="VALID").shape
    (1, 6, 4)
    """
    kernel = masked(kernel, mask)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    window = _window(kernel_size, strides, padding, input_dilation, kernel_dilation)
    shapes = _shapes(x.shape, kernel.shape[-1], window)
    same_shape(
        kernel,
        shapes.kernel,
        "kernel",
        hint=(
            f"Inputs of shape {x.shape} need this shape: positions, then the entries of the "
            f"{window.size} window."
        ),
    )
    rank = len(window.size)

    def of_all(x: Array, kernel: Array) -> Array:
        if is_on_mesh(x):
            return _of_patches(_patches(x, window, shapes.bias[:-1]), kernel, rank, precision)
        x, batch = flatten_batch(x, rank)  # [B, *spatial, D]
        x, lax_padding = pad_beforehand(x, window.padding, window.size, window.kernel_dilation)
        y: Array = lax.conv_general_dilated_local(
            x,
            kernel,
            window.strides,
            lax_padding,
            window.size,
            lhs_dilation=window.input_dilation,
            rhs_dilation=window.kernel_dilation,
            dimension_numbers=dimension_numbers(rank),
            precision=precision,
        )  # [B, *P, F]
        return restore_batch(y, batch)

    layout = out_sharding
    if checked_sharding(layout) is None:
        layout = layout_of_windows(x, kernel, -1)
    y: Array = (of_all if layout is None else automatic(of_all, layout))(x, kernel)
    if bias is not None:
        same_shape(
            bias, shapes.bias, "bias", hint="There is one bias for each position and feature."
        )
        y = add_bias(y, bias)
    return y


def _of_patches(patches: Array, kernel: Array, rank: int, precision: PrecisionLike) -> Array:
    """The product of each position's patch and kernel: [*batch, *P, F]."""
    batch = patches.ndim - rank - 1
    positions, last = tuple(range(rank)), patches.ndim - 1
    dimensions = (((last,), (rank,)), (tuple(batch + p for p in positions), positions))
    y = lax.dot_general(patches, kernel, dimensions, precision=precision)  # [*P, *batch, F]
    return lax.transpose(y, (*range(rank, last), *positions, last))  # [*batch, *P, F]


def _patches(x: Array, window: _Window, positions: Shape) -> Array:
    """The patch of `x` in each window: [*batch, *P, D · K].

    Patches are sliced offset by offset because of meshes: `lax.conv_general_dilated_patches`
    convolves with a kernel of zeros and ones, and the derivative of that gathers a batch that is
    split over devices.
    """
    batch = x.shape[: x.ndim - len(positions) - 1]
    if 0 in positions:
        return jnp.zeros((*batch, *positions, x.shape[-1] * math.prod(window.size)), x.dtype)
    x, padding = pad_beforehand(x, window.padding, window.size, window.kernel_dilation)
    reach = [(k - 1) * d + 1 for k, d in zip(window.size, window.kernel_dilation, strict=True)]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[len(batch) : -1], reach, window.strides, padding)
    widths = [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(padding, window.input_dilation, strict=True)
    ]
    outer = [(0, 0, 0)] * len(batch)
    x = lax.pad(x, jnp.zeros((), x.dtype), [*outer, *widths, (0, 0, 0)])
    seen = []
    for offset in np.ndindex(*window.size):
        start = [o * d for o, d in zip(offset, window.kernel_dilation, strict=True)]
        stop = [
            s + (p - 1) * step + 1
            for s, p, step in zip(start, positions, window.strides, strict=True)
        ]
        seen.append(
            lax.slice(
                x,
                (*(0 for _ in batch), *start, 0),
                (*batch, *stop, x.shape[-1]),
                (*(1 for _ in batch), *window.strides, 1),
            )
        )
    patches = jnp.stack(seen, axis=-1)  # [*batch, *P, D, K]
    return lax.reshape(patches, (*patches.shape[:-2], x.shape[-1] * len(seen)))
