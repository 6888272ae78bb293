"""Convolution with one kernel for all positions, channels last.

    y[b, p, f] = Σ_{k, d} x[b, p · stride + k · dilation - low, d] · kernel[k, d, f] + bias[f]

(Strictly a cross-correlation, as everywhere in the field.) B batch, p position and k offset in the
window, each with as many dimensions as the window; D features in, F features out, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import ArgumentError, ShapeError, counted
from linnet.module_core.layers import (
    Array,
    ConvGeneralDilated,
    DTypeLike,
    OutSharding,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    Shape,
    integer,
    same_shape,
)
from linnet.module_core.layout import automatic, entries_of, is_on_mesh, layout_of, split

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
from ._options import checked_sharding, given
from ._padding import (
    CONV_PADDINGS,
    canonicalize_padding,
    pad_beforehand,
    refuse_name_for_dilated_inputs,
    with_zeros,
)


def conv_kernel_shape(
    input_shape: Shape, features: int, kernel_size: Shape, feature_group_count: int = 1
) -> Shape:
    """The shape of the kernel that convolves an input.

    Args:
      input_shape: [*batch, *spatial, D].
      features: F.
      kernel_size: size of the window in each spatial dimension.
      feature_group_count: G, the number of groups into which the input's features are split.

    Returns:
      (*kernel_size, D // G, F).

    Raises:
      ArgumentError: G doesn't divide both D and F.
      ShapeError: the input has too few dimensions.

    >>> conv_kernel_shape((32, 8, 8, 6), 4, (3, 3), feature_group_count=2)
    (3, 3, 3, 4)
    """
    require_spatial(input_shape, len(kernel_size))
    groups = checked_groups(feature_group_count, input_shape[-1], features)
    return (*kernel_size, input_shape[-1] // groups, features)


def checked_groups(feature_group_count: object, inputs: int, features: int) -> int:
    """The number of groups, which divides the numbers of features of inputs and output.

    Raises:
      ArgumentError: it doesn't.
    """
    groups = integer(feature_group_count, "feature_group_count", least=1)
    for size, what in ((inputs, "the inputs'"), (features, "the output's")):
        if size % groups:
            raise ArgumentError(
                f"feature_group_count={groups} doesn't divide {what} {counted(size, 'feature')}.",
                hint="The features of inputs and output are split into groups of the same size.",
            )
    return groups


def masked(kernel: Array, mask: Array | None) -> Array:
    """`kernel * mask`, after checking that both have the same shape.

    Raises:
      ShapeError: the shapes differ.
    """
    if mask is None:
        return kernel
    if jnp.shape(mask) != kernel.shape:
        raise ShapeError(
            f"The mask has shape {jnp.shape(mask)}, but the kernel has shape {kernel.shape}.",
            hint=f"Broadcast it, e.g. `jnp.broadcast_to(mask, {kernel.shape})`.",
        )
    mask = jnp.asarray(mask)
    return kernel * (mask.astype(kernel.dtype) if mask.dtype == bool else mask)


def dimension_numbers(rank: int) -> lax.ConvDimensionNumbers:
    """Channels last: [B, *spatial, D] and [*spatial, D, F] to [B, *spatial, F]."""
    outer = (0, rank + 1, *range(1, rank + 1))
    return lax.ConvDimensionNumbers(outer, (rank + 1, rank, *range(rank)), outer)


def layout_of_windows(x: Array, kernel: Array, features: int) -> OutSharding | None:
    """The sharding of a convolution where JAX requires one: it splits the batch and the features.

    Spatial dimensions are not split, since each device would need its neighbors' margins.

    Args:
      x: [*batch, *spatial, D].
      kernel: [*window, two more dimensions].
      features: the dimension of the kernel that has the output's features.

    Returns:
      The sharding of [*batch, *spatial, F]; None if JAX infers it, as for a batch that is split.
    """
    of_x, of_kernel = layout_of(x), layout_of(kernel)
    entries = entries_of(of_x, x.ndim)
    either = of_x or of_kernel
    rank = kernel.ndim - 2
    if either is None or (of_kernel is None and not any(entries[1:])):
        return None
    inner = (None,) * rank
    return split(
        either,
        (*entries[: x.ndim - rank - 1], *inner, entries_of(of_kernel, kernel.ndim)[features]),
    )


def _group_by_group(convolved: Callable[..., Array], x: Array, kernel: Array, groups: int) -> Array:
    """A grouped convolution, built from convolutions that keep the batch split over devices.

    XLA gathers the batch of every convolution except those with one group, and those with as many
    groups as features on both sides.
    """
    features = kernel.shape[-1]
    if groups < x.shape[-1]:
        pairs = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolved(a, k, 1) for a, k in pairs], -1)
    one_each = [
        convolved(x, kernel[..., i :: features // groups], groups)
        for i in range(features // groups)
    ]
    if len(one_each) == 1:
        return one_each[0]
    y = jnp.stack(one_each, -1)  # [B, *E, *spatial, D, F // D]
    return lax.reshape(y, (*y.shape[:-2], features))


def conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] | None = 1,
    padding: PaddingLike = "SAME",
    input_dilation: int | Sequence[int] | None = 1,
    kernel_dilation: int | Sequence[int] | None = 1,
    feature_group_count: int = 1,
    mask: Array | None = None,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    conv_general_dilated: ConvGeneralDilated | None = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Convolves `x` with `kernel` and adds `bias`.

    Args:
      x: [*batch, *spatial, D], any number of batch dimensions.
      kernel: [*window, D // G, F].
      bias: [F], or None.
      strides: from one window to the next, in positions; one for all dimensions or one each.
      padding: 'SAME', 'VALID', 'CIRCULAR' (periodic), 'REFLECT' (mirrored), 'REPLICATE' (with the
        value at the edge), 'CAUSAL' (one dimension only: on the left), an int for all sides, or an
        int or (low, high) pair for each dimension.
      input_dilation: spacing of the positions of `x`, with zeros between them.
      kernel_dilation: spacing of the kernel's entries.
      feature_group_count: G; each group of D // G input features produces F // G output features.
      mask: multiplied by the kernel, with its shape; or None.
      dtype: the computation dtype; None for the common type of the arguments.
      precision: see `jax.lax.Precision`.
      conv_general_dilated: replaces `jax.lax.conv_general_dilated`.
      preferred_element_type: dtype of the accumulation and of the result.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [*batch, *spatial, F].

    Raises:
      ShapeError: `kernel`, `bias` or `mask` doesn't fit.
      ArgumentError: the padding is unknown, the groups don't divide the features, or the number of
        strides or dilations doesn't match the window.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 8, 3)), jnp.ones((5, 3, 4))
    >>> conv(x, kernel, padding="VALID").shape, conv(x, kernel, strides=2).shape
    ((2, 4, 4), (2, 4, 4))
    """
    kernel = masked(kernel, mask)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    rank = kernel.ndim - 2
    if rank < 0:
        raise ShapeError(
            f"kernel has shape {kernel.shape}, expected (*window, inputs' features, features)."
        )
    window, features = kernel.shape[:rank], kernel.shape[-1]
    kernel_dilation = per_dimension(kernel_dilation, rank, "kernel_dilation")
    input_dilation = per_dimension(input_dilation, rank, "input_dilation")
    strides = per_dimension(strides, rank, "strides")
    expected = conv_kernel_shape(x.shape, features, window, feature_group_count)
    same_shape(
        kernel,
        expected,
        "kernel",
        hint=channels_first(x.shape, rank, kernel.shape[-2] * feature_group_count)
        or f"Inputs of shape {x.shape} in {feature_group_count} feature group(s) need this shape.",
    )
    padding = canonicalize_padding(padding, rank, CONV_PADDINGS)
    refuse_name_for_dilated_inputs(padding, input_dilation)

    replaced = conv_general_dilated is not None
    layout = out_sharding
    if not replaced and checked_sharding(layout) is None:
        layout = layout_of_windows(x, kernel, -1)
    options = given(
        preferred_element_type=preferred_element_type,
        out_sharding=layout if replaced else None,
    )

    def of_all(x: Array, kernel: Array) -> Array:
        x, batch = flatten_batch(x, rank, merge=replaced)
        spatial = x.shape[-1 - rank : -1]
        x, widths = pad_beforehand(x, padding, window, kernel_dilation)  # [B, *E, *spatial, D]
        extra = x.ndim - rank - 2
        ones = (1,) * extra

        def convolved(x: Array, kernel: Array, groups: int) -> Array:
            y: Array = (conv_general_dilated or lax.conv_general_dilated)(
                x,
                kernel,
                (*ones, *strides),
                with_zeros(widths, extra),
                lhs_dilation=(*ones, *input_dilation),
                rhs_dilation=(*ones, *kernel_dilation),
                dimension_numbers=dimension_numbers(extra + rank),
                feature_group_count=groups,
                precision=precision,
                **options,
            )
            return y  # [B, *E, *spatial, F]

        kernel = with_ones(kernel, extra)
        if not replaced and feature_group_count > 1 and is_on_mesh(x):
            y = _group_by_group(convolved, x, kernel, feature_group_count)
        else:
            y = convolved(x, kernel, feature_group_count)
        require_output(y.shape[-1 - rank : -1], spatial, window, "convolution's")
        return restore_batch(y, batch)

    convolve = of_all if layout is None or replaced else automatic(of_all, layout)
    y: Array = convolve(x, kernel)
    if bias is None:
        return y
    same_shape(bias, (features,), "bias", hint="There is one bias for each feature of the output.")
    return add_bias(y, bias)
