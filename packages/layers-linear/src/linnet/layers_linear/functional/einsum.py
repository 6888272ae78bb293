"""An einsum of the inputs with a kernel, and a bias along the dimensions that come from the kernel.

The equation determines everything: `"bta,ahd->bthd"` contracts a; the bias has the letters that
kernel and result share, in the result's order: [H, D].
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError
from linnet.module_core.layers import (
    Array,
    DotGeneral,
    DTypeLike,
    EinsumOp,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    Shape,
    same_shape,
)
from linnet.module_core.layout import product_layout

from ._bias import add_bias
from ._options import checked_sharding, given


class EinsumShapes(NamedTuple):
    """The shape of the bias, without and with ones for the result's other dimensions."""

    bias: Shape
    bias_broadcast: Shape


def einsum_shapes(einsum_str: str, input_shape: Shape, kernel_shape: Shape) -> EinsumShapes:
    """The shape of the bias for an equation and its operands.

    Args:
      einsum_str: an equation with two operands and a result, e.g. `"...a,ab->...b"`.
      input_shape: shape of the first operand.
      kernel_shape: shape of the second operand.

    Raises:
      ArgumentError: the equation has no "->", doesn't have exactly two operands, or is malformed.
      ShapeError: an operand's number of dimensions doesn't match the equation, or one letter has
        two sizes.

    >>> einsum_shapes("abc,cde->abde", (3, 4, 5), (5, 6, 7))
    EinsumShapes(bias=(6, 7), bias_broadcast=(1, 1, 6, 7))
    """
    input_labels, kernel_labels, result_labels = _all_labels(einsum_str, input_shape, kernel_shape)
    sizes: dict[str, int] = {}
    for labels, shape in ((input_labels, input_shape), (kernel_labels, kernel_shape)):
        for label, size in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:  # as in NumPy, a dimension of size 1 broadcasts
                sizes[label] = size
            elif size not in (1, known):
                raise ShapeError(
                    f"In {einsum_str!r}, {label!r} has both size {known} and size {size}: inputs "
                    f"have shape {input_shape}, the kernel {kernel_shape}.",
                    hint="Dimensions with the same letter must have the same size.",
                )
    unknown = [label for label in result_labels if label not in sizes]
    if unknown:
        raise ArgumentError(
            f"In {einsum_str!r}, the letter {unknown[0]!r} of the result is in neither operand.",
            hint="Each letter of the result must come from the inputs or the kernel.",
        )
    own = dict(zip(kernel_labels, kernel_shape, strict=True))
    return EinsumShapes(
        bias=tuple(own[label] for label in result_labels if label in own),
        bias_broadcast=tuple(own.get(label, 1) for label in result_labels),
    )


def einsum_terms(einsum_str: str) -> tuple[str, str, str]:
    """The letters of the inputs, of the kernel and of the result.

    Raises:
      ArgumentTypeError: the equation is not a string.
      ArgumentError: it has no "->", doesn't have exactly two operands, or is malformed.

    >>> einsum_terms("bta, ahd -> bthd")
    ('bta', 'ahd', 'bthd')
    """
    if not isinstance(einsum_str, str):
        raise ArgumentTypeError(
            f"'einsum_str' must be a str, got {einsum_str!r} ({type(einsum_str).__name__}).",
            hint='For example "...a,ab->...b".',
        )
    equation = "".join(einsum_str.split())
    operands, arrow, result = equation.partition("->")
    if not arrow:
        raise ArgumentError(
            f'The equation {einsum_str!r} has no result: expected "->" and its letters.',
            hint='For example "...a,ab->...b".',
        )
    terms = operands.split(",")
    if len(terms) != 2:
        raise ArgumentError(
            f"The equation {einsum_str!r} has {len(terms)} operand(s), expected two.",
            hint="The first operand is the inputs, and the second is the kernel.",
        )
    for term in (*terms, result):
        letters = term.replace("...", "", 1)
        if letters and not (letters.isascii() and letters.isalpha()):
            raise ArgumentError(
                f"`einsum_str` equation {einsum_str!r} is malformed at {term!r}: expected letters "
                'and at most one "...".'
            )
    letters = result.replace("...", "")
    if len(set(letters)) < len(letters):
        raise ArgumentError(f"`einsum_str` equation {einsum_str!r} repeats a letter in its result.")
    return terms[0], terms[1], result


def _all_labels(
    einsum_str: str, input_shape: Shape, kernel_shape: Shape
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The labels of the dimensions of inputs, kernel and result."""
    inputs, kernel, result = einsum_terms(einsum_str)
    input_labels = _labels(inputs, input_shape, "inputs", einsum_str)
    kernel_labels = _labels(kernel, kernel_shape, "kernel", einsum_str)
    ellipsis = max(_expanded(input_labels), _expanded(kernel_labels), key=len)
    return input_labels, kernel_labels, _spread(result, ellipsis)


def _labels(term: str, shape: Shape, what: str, einsum_str: str) -> tuple[str, ...]:
    """One label for each dimension; those of an ellipsis are numbered from the right."""
    missing = len(shape) - len(term.replace("...", ""))
    if missing < 0 or (missing and "..." not in term):
        raise ShapeError(
            f"{einsum_str!r} gives the {what} the dimensions {term!r}, but their shape is {shape}.",
            hint="Write one letter for each dimension; '...' matches any number of them.",
        )
    return _spread(term, tuple(f"...{i}" for i in reversed(range(missing))))


def _spread(term: str, ellipsis: tuple[str, ...]) -> tuple[str, ...]:
    before, dots, after = term.partition("...")
    return (*before, *(ellipsis if dots else ()), *after)


def _expanded(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label for label in labels if label.startswith("..."))


def two_operand_einsum(einsum_str: str, x: Array, y: Array, dot_general: DotGeneral) -> Array:
    """An einsum as one call to `dot_general`, always with `x` as the first operand.

    Args:
      einsum_str: an equation with two operands and a result; no operand repeats a letter.
      x, y: the operands.
      dot_general: called with both, and `jax.lax.dot_general`'s dimension numbers.

    Raises:
      ArgumentError: the equation is malformed, or repeats a letter within an operand.
      ShapeError: an operand doesn't fit it.

    >>> import jax, jax.numpy as jnp
    >>> x, y = jnp.ones((2, 3)), jnp.ones((3, 4))
    >>> two_operand_einsum("ab,bc->ca", x, y, jax.lax.dot_general).shape
    (4, 2)
    """
    einsum_shapes(einsum_str, x.shape, y.shape)  # Checks the equation and the sizes.
    x_labels, y_labels, result = _all_labels(einsum_str, x.shape, y.shape)
    for labels in (x_labels, y_labels):
        if len(set(labels)) < len(labels):
            raise ArgumentError(
                f"{einsum_str!r} repeats a letter within an operand.",
                hint="Take the diagonal of that operand first, with jnp.diagonal.",
            )
    x, x_labels = _needed(x, x_labels, dict(zip(y_labels, y.shape, strict=True)), result)
    y, y_labels = _needed(y, y_labels, dict(zip(x_labels, x.shape, strict=True)), result)
    shared = [label for label in x_labels if label in y_labels]
    batch = [label for label in shared if label in result]
    contracted = [label for label in shared if label not in result]
    dimensions = tuple(
        tuple(tuple(labels.index(i) for i in group) for labels in (x_labels, y_labels))
        for group in (contracted, batch)
    )
    z = dot_general(x, y, dimensions)
    free = [label for label in (*x_labels, *y_labels) if label not in shared]
    order = [*batch, *free]
    return jnp.transpose(z, [order.index(label) for label in result])


def _needed(
    x: Array, labels: tuple[str, ...], other: dict[str, int], result: tuple[str, ...]
) -> tuple[Array, tuple[str, ...]]:
    """`x` summed over the dimensions that only it has, and without those that broadcast."""
    summed = [i for i, label in enumerate(labels) if label not in other and label not in result]
    ones = [i for i, label in enumerate(labels) if x.shape[i] == 1 and other.get(label, 1) != 1]
    if not summed and not ones:
        return x, labels
    dropped = (*summed, *ones)
    kept = tuple(label for i, label in enumerate(labels) if i not in dropped)
    return jnp.sum(x, axis=dropped), kept


def einsum(
    einsum_str: str,
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    einsum_op: EinsumOp = jnp.einsum,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """The einsum of `x` and `kernel`, plus `bias` along the kernel's dimensions.

    Args:
      einsum_str: an equation with two operands and a result, e.g. `"...a,ab->...b"`.
      x: the first operand.
      kernel: the second operand.
      bias: an array of the shape that `einsum_shapes` returns, or None.
      dtype: the computation dtype; None for the common type of the arguments.
      precision: see `jax.lax.Precision`.
      preferred_element_type: dtype of the accumulation and of the result.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      einsum_op: replaces `jax.numpy.einsum`.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      An array with the dimensions of the equation's result.

    Raises:
      ArgumentError: the equation is malformed, or doesn't have two operands.
      ShapeError: an operand or `bias` doesn't fit it.

    >>> import jax.numpy as jnp
    >>> einsum("abc,cde->abde", jnp.ones((3, 4, 5)), jnp.ones((5, 6, 7)), jnp.ones((6, 7))).shape
    (3, 4, 6, 7)
    """
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    shapes = einsum_shapes(einsum_str, x.shape, kernel.shape)
    if einsum_op is jnp.einsum and checked_sharding(out_sharding) is None:
        labels = partial(_all_labels, einsum_str, x.shape, kernel.shape)
        out_sharding = product_layout(x, kernel, labels)
    options = given(preferred_element_type=preferred_element_type, out_sharding=out_sharding)
    y: Array = einsum_op(einsum_str, x, kernel, precision=precision, **options)
    if bias is None:
        return y
    same_shape(bias, shapes.bias, "bias", hint=f"These are the kernel's letters in {einsum_str!r}.")
    return add_bias(y, bias, shapes.bias_broadcast)
