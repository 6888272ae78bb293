"""Converts every form of padding for the spatial dimensions of a convolution.

'CIRCULAR', 'REFLECT', 'REPLICATE' and 'CAUSAL' are applied to the input beforehand, and the
convolution itself is then 'VALID'; every other padding is zeros, which XLA adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, counted, did_you_mean
from linnet.module_core.layers import Array, PaddingLike, Shape, integer

LaxPadding: TypeAlias = str | list[tuple[int, int]]

ZERO_PADDINGS = ("SAME", "VALID", "SAME_LOWER")
"""The names that XLA knows."""

CONV_PADDINGS = (*ZERO_PADDINGS, "CIRCULAR", "CAUSAL", "REFLECT", "REPLICATE")
TRANSPOSE_PADDINGS = (*ZERO_PADDINGS, "CIRCULAR")
"""The names of paddings that a transposed convolution takes."""

_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect", "REPLICATE": "edge"}
"""What `jax.numpy.pad` calls the paddings that repeat the input."""


def canonicalize_padding(
    padding: PaddingLike, rank: int, names: Sequence[str] = CONV_PADDINGS
) -> LaxPadding:
    """A name in capitals, or one (low, high) pair for each of `rank` spatial dimensions.

    Args:
      padding: a name, an int for all sides, or an int or pair for each dimension.
      rank: number of spatial dimensions.
      names: the known names.

    Returns:
      The name, or [(low, high)] * rank.

    Raises:
      ArgumentError: it is not one of `names`, an int, or a sequence of `rank` ints or pairs.

    >>> canonicalize_padding((1, (0, 2)), 2), canonicalize_padding("same", 2)
    ([(1, 1), (0, 2)], 'SAME')
    """
    if isinstance(padding, str):
        name = padding.upper()
        if name not in names:
            raise ArgumentError(
                f"Unknown padding {padding!r}: expected one of {', '.join(names)}, an int, or a "
                f"sequence of {_entries(rank)}.",
                hint=did_you_mean(name, names),
            )
        return name
    if not isinstance(padding, Sequence):
        amount = _amount(padding, padding, rank, names)
        return [(amount, amount)] * rank
    if len(padding) != rank:
        raise _malformed(padding, rank, names)
    return [_pair(entry, padding, rank, names) for entry in padding]


def _pair(entry: object, padding: object, rank: int, names: Sequence[str]) -> tuple[int, int]:
    if not isinstance(entry, Sequence):
        amount = _amount(entry, padding, rank, names)
        return amount, amount
    if isinstance(entry, str) or len(entry) != 2:
        raise _malformed(padding, rank, names)
    low, high = entry
    return _amount(low, padding, rank, names), _amount(high, padding, rank, names)


def _amount(value: object, padding: object, rank: int, names: Sequence[str]) -> int:
    try:
        return integer(value, "padding", least=None)  # negative padding crops
    except ArgumentTypeError:
        raise _malformed(padding, rank, names) from None


def _malformed(padding: object, rank: int, names: Sequence[str]) -> ArgumentError:
    return ArgumentError(
        f"padding={padding!r} is malformed: expected a name, an int, or a sequence of "
        f"{_entries(rank)}.",
        hint=f"The window has {counted(rank, 'spatial dimension')}; the names are "
        f"{', '.join(names)}.",
    )


def _entries(rank: int) -> str:
    """What a sequence of paddings holds."""
    return counted(rank, "int or (low, high) pair", "ints or (low, high) pairs")


def pad_beforehand(
    x: Array, padding: LaxPadding, kernel_size: Shape, kernel_dilation: Shape
) -> tuple[Array, LaxPadding]:
    """Applies the paddings that XLA doesn't support; returns the array and the remaining padding.

    Args:
      x: [*batch, *spatial, D].
      padding: the padding in canonical form.
      kernel_size: size of the window in each spatial dimension.
      kernel_dilation: the kernel's dilation in each spatial dimension.

    Raises:
      ArgumentError: 'CAUSAL' with more than one spatial dimension.
    """
    if padding == "CAUSAL":
        left = causal_width(kernel_size, kernel_dilation)
        zero = jnp.zeros((), x.dtype)
        outer = [(0, 0, 0)] * (x.ndim - 2)
        return lax.pad(x, zero, [*outer, (left, 0, 0), (0, 0, 0)]), "VALID"
    if isinstance(padding, str) and padding in _MODES:
        reach = [(k - 1) * d for k, d in zip(kernel_size, kernel_dilation, strict=True)]
        batch = x.ndim - len(reach) - 1
        widths = [(0, 0)] * batch + [(r // 2, (r + 1) // 2) for r in reach] + [(0, 0)]
        return jnp.pad(x, widths, mode=_MODES[padding]), "VALID"
    return x, padding


def with_zeros(padding: LaxPadding, count: int) -> LaxPadding:
    """The padding for `count` more leading dimensions, along which the window has size 1."""
    return padding if isinstance(padding, str) else [(0, 0)] * count + padding


def causal_width(kernel_size: Shape, kernel_dilation: Shape) -> int:
    """The number of past positions that a one-dimensional kernel covers.

    Raises:
      ArgumentError: the kernel has more than one spatial dimension.
    """
    if len(kernel_size) != 1:
        raise ArgumentError(
            f"'CAUSAL' padding needs a 1D convolution, but kernel_size={kernel_size} has "
            f"{counted(len(kernel_size), 'spatial dimension')}.",
            hint="To be causal in one of them, pass (low, high) pairs, e.g. ((k - 1, 0), (1, 1)).",
        )
    return kernel_dilation[0] * (kernel_size[0] - 1)


def refuse_name_for_dilated_inputs(padding: LaxPadding, input_dilation: Shape) -> None:
    """Checks that dilated inputs aren't padded by name, which has no defined meaning for them.

    Raises:
      ArgumentError: both are given.
    """
    if isinstance(padding, str) and any(d != 1 for d in input_dilation):
        raise ArgumentError(
            f"padding={padding!r} has no meaning with input_dilation={input_dilation}.",
            hint="Pass the padding as ints or (low, high) pairs, or use ConvTranspose.",
        )


def output_spatial(
    spatial: Shape,
    kernel_size: Shape,
    strides: Shape,
    padding: LaxPadding,
    input_dilation: Shape,
    kernel_dilation: Shape,
) -> Shape:
    """The number of windows that fit along each spatial dimension."""
    sizes = []
    for i, size in enumerate(spatial):
        reach = (kernel_size[i] - 1) * kernel_dilation[i]  # beyond the window's first element
        dilated = (size - 1) * input_dilation[i] + 1 if size else 0
        if padding == "VALID":
            free = dilated - reach
        elif isinstance(padding, str):
            free = dilated  # every other name pads by the window's reach
        else:
            free = dilated + sum(padding[i]) - reach
        sizes.append(max(-(-free // strides[i]), 0))
    return tuple(sizes)
