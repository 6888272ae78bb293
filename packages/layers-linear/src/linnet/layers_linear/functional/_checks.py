"""Checks the arguments of a layer before JAX does, with errors that say how to fix them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError

from ._types import Array, Shape


def shape_of(x: Any) -> Shape:
    """The shape of an array, a tracer, a number or a nested list of numbers.

    Raises:
      ArgumentTypeError: it is none of these.
    """
    if hasattr(x, "shape"):
        shape: Shape = x.shape
        return shape
    if not _is_numeric(x):
        raise ArgumentTypeError(
            f"inputs must be an array of numbers, got {type(x).__name__}: {str(x)[:40]!r}."
        )
    return np.shape(x)


def _is_numeric(x: Any) -> bool:
    try:
        return np.asarray(x).dtype.kind not in "OSU"
    except ValueError:  # a sequence of unequal parts
        return False


def as_array(x: Any) -> Array:
    """`x` as an array, with the types that JAX chooses for Python's numbers.

    Raises:
      ArgumentTypeError: it is not an array of numbers.
    """
    shape_of(x)
    return jnp.asarray(x)


def integer(value: Any, name: str, *, least: int | None = 0) -> int:
    """`value` as an int that is at least `least`, or any int if that is None.

    Raises:
      ArgumentTypeError: it is not an integer.
      ArgumentError: it is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        hint = None
        if isinstance(value, float) and value.is_integer():
            hint = f"Write {int(value)}, or divide with // where it is computed."
        elif isinstance(value, list | tuple) and name == "features":
            hint = "It is the size of this one layer; several layers are made one by one."
        raise ArgumentTypeError(
            f"'{name}' must be an integer, got {value!r} ({type(value).__name__}).",
            hint=hint,
        ) from None
    if least is not None and number < least:
        kind = "not be negative" if least == 0 else f"be at least {least}"
        raise ArgumentError(f"'{name}' must {kind}, got {number}.")
    return number


def integers(value: Any, name: str, *, least: int | None = 0) -> Shape:
    """`value`, an int or a sequence of ints, as a tuple of ints."""
    if isinstance(value, str | bytes):
        raise ArgumentTypeError(
            f"'{name}' must be an int or a sequence of ints, got {value!r} (str)."
        )
    if isinstance(value, Sequence) or getattr(value, "ndim", 0) == 1:
        return tuple(integer(v, f"{name}[{i}]", least=least) for i, v in enumerate(value))
    return (integer(value, name, least=least),)


def per_dimension(value: Any, rank: int, name: str, *, least: int = 1) -> Shape:
    """One integer for each of `rank` spatial dimensions, from one, several or None (ones).

    Raises:
      ArgumentError: as many integers as there are dimensions are needed, others came.
    """
    if value is None:
        return (1,) * rank
    numbers = integers(value, name, least=least)
    if not isinstance(value, Sequence) and len(numbers) == 1:
        return numbers * rank
    if len(numbers) != rank:
        raise ArgumentError(
            f"'{name}' has {len(numbers)} entries, the window has {rank} spatial dimensions: "
            f"{name}={value!r}.",
            hint=f"Give one int for all dimensions, or {rank} of them.",
        )
    return numbers


def vector_features(shape: Shape, what: str = "inputs") -> int:
    """The size of the last dimension.

    Raises:
      ShapeError: there is none.
    """
    if not shape:
        raise ShapeError(
            f"{what} must have at least one dimension (the features), got a scalar.",
            hint="For one number, pass it as an array of shape (1,).",
        )
    return shape[-1]


def same_shape(array: Array, expected: Shape, what: str, reason: str) -> None:
    """Refuses an array whose shape is not the expected one, and says why that was expected."""
    if array.shape != expected:
        raise ShapeError(
            f"{what} has shape {array.shape}, expected {expected}.",
            hint=reason,
        )


def inexact(x: Array, what: str, purpose: str) -> None:
    """Refuses an array that is neither floating nor complex."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise DtypeError(
            f"{what} must be floating or complex to {purpose}, got dtype {x.dtype}.",
            hint="Convert them first, e.g. with `.astype(jax.numpy.float32)`.",
        )
