"""Transposed ("fractionally strided") convolution, channels last.

    y = conv(x dilated by the stride, kernel)

With `transpose_kernel`, this is the transpose of the linear map of a strided convolution; see
Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4. D features in, F features out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import (
    Array,
    DTypeLike,
    OutSharding,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    Shape,
    integer,
    same_shape,
)
from linnet.module_core.layout import automatic, is_on_mesh

from ._batch import (
    channels_first,
    flatten_batch,
    require_output,
    require_spatial,
    restore_batch,
    with_ones,
)
from ._bias import add_bias
from ._checks import per_dimension
from ._options import checked_sharding
from ._padding import TRANSPOSE_PADDINGS, canonicalize_padding, with_zeros
from .conv import checked_groups, layout_of_windows, masked


def conv_transpose_kernel_shape(
    input_shape: Shape,
    features: int,
    kernel_size: Shape,
    transpose_kernel: bool = False,
    feature_group_count: int = 1,
) -> Shape:
    """The shape of the kernel.

    Args:
      input_shape: [*batch, *spatial, D].
      features: F.
      kernel_size: size of the window in each spatial dimension.
      transpose_kernel: as in `conv_transpose`.
      feature_group_count: G, the number of groups into which the input's features are split.

    Returns:
      (*kernel_size, D // G, F), or (*kernel_size, F // G, D) if transposed.

    Raises:
      ArgumentError: the number of groups G doesn't divide both D and F.
      ShapeError: the input has too few dimensions.

    >>> conv_transpose_kernel_shape((1, 15, 15, 3), 4, (6, 6), transpose_kernel=True)
    (6, 6, 4, 3)
    """
    require_spatial(input_shape, len(kernel_size))
    groups = checked_groups(feature_group_count, input_shape[-1], features)
    inputs = input_shape[-1]
    channels = (features // groups, inputs) if transpose_kernel else (inputs // groups, features)
    return (*kernel_size, *channels)


def conv_transpose(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] | None = None,
    transpose_kernel: bool = False,
    feature_group_count: int = 1,
    mask: Array | None = None,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Spreads the positions of `x` by `strides`, convolves with `kernel` and adds `bias`.

    Args:
      x: [*batch, *spatial, D], any number of batch dimensions.
      kernel: [*window, D // G, F], or [*window, F // G, D] if `transpose_kernel`.
      bias: [F], or None.
      strides: spacing of the positions of `x`; None for 1.
      padding: 'SAME' (spatial · strides positions), 'VALID' (every position that a window touches),
        'CIRCULAR' (like 'SAME', with the overhang added on the other side), or the padding of the
        dilated `x`: an int for all sides, or an int or (low, high) pair for each dimension.
      kernel_dilation: spacing of the kernel's entries; None for 1.
      transpose_kernel: flips the kernel's spatial dimensions and swaps its features, which makes
        this the transpose of `conv` with the same kernel.
      feature_group_count: G; each group of D // G input features produces F // G output features.
      mask: multiplied by the kernel, with its shape; or None.
      dtype: the computation dtype; None for the common type of the arguments.
      precision: see `jax.lax.Precision`.
      preferred_element_type: dtype of the accumulation and of the result.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [*batch, *spatial, F].

    Raises:
      ShapeError: `kernel`, `bias` or `mask` doesn't fit.
      ArgumentError: the padding is unknown, the number of strides or dilations doesn't match the
        window, or the groups don't divide the features.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((1, 8, 3)), jnp.ones((3, 3, 4))
    >>> conv_transpose(x, kernel, padding="VALID").shape, conv_transpose(x, kernel, strides=2).shape
    ((1, 10, 4), (1, 16, 4))
    """
    kernel = masked(kernel, mask)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    rank = kernel.ndim - 2
    if rank < 0:
        raise ShapeError(
            f"kernel has shape {kernel.shape}, expected (*window, inputs' features, features)."
        )
    groups = integer(feature_group_count, "feature_group_count", least=1)
    window = kernel.shape[:rank]
    features = kernel.shape[-2] * groups if transpose_kernel else kernel.shape[-1]
    strides = per_dimension(strides, rank, "strides")
    kernel_dilation = per_dimension(kernel_dilation, rank, "kernel_dilation")
    padding = canonicalize_padding(padding, rank, TRANSPOSE_PADDINGS)
    same_shape(
        kernel,
        conv_transpose_kernel_shape(x.shape, features, window, transpose_kernel, groups),
        "kernel",
        hint=channels_first(
            x.shape, rank, kernel.shape[-1] if transpose_kernel else kernel.shape[-2] * groups
        )
        or f"Inputs of shape {x.shape} need this shape with transpose_kernel={transpose_kernel}.",
    )
    spatial = x.shape[-1 - rank : -1]

    def of_all(x: Array, kernel: Array) -> Array:
        x, batch = flatten_batch(x, rank)  # [B, *E, *spatial, D]
        extra = x.ndim - rank - 2
        ones = (1,) * extra

        def convolved(x: Array, kernel: Array) -> Array:
            y: Array = lax.conv_transpose(
                x,
                with_ones(kernel, extra),
                (*ones, *strides),
                "VALID" if padding == "CIRCULAR" else with_zeros(padding, extra),
                rhs_dilation=(*ones, *kernel_dilation),
                transpose_kernel=transpose_kernel,
                precision=precision,
                preferred_element_type=preferred_element_type,
            )
            return y  # [B, *E, *spatial, F]

        y = _in_groups(convolved, x, kernel, groups)
        require_output(y.shape[-1 - rank : -1], spatial, window, "transposed convolution's")
        if padding == "CIRCULAR":
            periods = tuple(n * s for n, s in zip(spatial, strides, strict=True))
            y = _wrap(y, periods, low_first=not transpose_kernel)
        return restore_batch(y, batch)

    layout = out_sharding
    if checked_sharding(layout) is None:
        layout = layout_of_windows(x, kernel, -2 if transpose_kernel else -1)
    y: Array = (of_all if layout is None else automatic(of_all, layout))(x, kernel)
    if bias is None:
        return y
    same_shape(bias, (features,), "bias", hint="There is one bias for each feature of the output.")
    return add_bias(y, bias)


def _in_groups(
    convolved: Callable[[Array, Array], Array], x: Array, kernel: Array, groups: int
) -> Array:
    """The outputs of each group of inputs with its part of the kernel, side by side."""
    if groups == 1:
        return convolved(x, kernel)
    if is_on_mesh(x):  # XLA would gather the batch of a grouped convolution
        pairs = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolved(a, k) for a, k in pairs], -1)
    parts = [lax.reshape(a, (*a.shape[:-1], groups, a.shape[-1] // groups)) for a in (x, kernel)]
    y: Array = jax.vmap(convolved, in_axes=-2, out_axes=-2)(*parts)
    return lax.reshape(y, (*y.shape[:-2], y.shape[-2] * y.shape[-1]))


def _wrap(y: Array, periods: Shape, *, low_first: bool) -> Array:
    """Sums positions that are a whole period apart: [*batch, *spatial, F] to [*batch, *periods, F].

    The periods are centered around `y`, which is padded equally on both sides. If the padding is
    odd, the extra position is before `y` with `low_first`, and after it otherwise.
    """
    first = y.ndim - len(periods) - 1
    widths = [(0, 0, 0)] * first
    for size, period in zip(y.shape[first:-1], periods, strict=True):
        missing = (period - size) % (2 * period)
        low = (missing + 1) // 2 if low_first else missing // 2
        widths.append((low, missing - low, 0))
    y = lax.pad(y, jnp.zeros((), y.dtype), [*widths, (0, 0, 0)])
    for axis, period in enumerate(periods, start=first):
        shape = y.shape
        folds = shape[axis] // period
        y = lax.reshape(y, (*shape[:axis], folds, period, *shape[axis + 1 :]))
        y = jnp.sum(y, axis=axis)  # half precision is summed in float32
    return y
