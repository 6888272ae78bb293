"""Checks the arguments of layers before JAX does, with errors that explain how to fix them.

The same rules hold for all layers and both styles:

- An array is anything that NumPy reads as numbers: an array, a tracer, a variable, a number, or a
  nested list of numbers.
- A size is a Python, NumPy or JAX integer. A float raises an error even if it is integral; the
  caller sets the lower bound.
- A rate is a real number within [0, 1] that is known at trace time.
- An axis is an integer within [-rank, rank); several axes are a sequence or set without repetition.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, counted
from .types import Array, Axes, Shape


def as_array(x: object, what: str = "inputs") -> Array:
    """Converts `x` to an array, with JAX's dtypes for Python numbers.

    Args:
      x: the input.
      what: name of the input in error messages.

    Raises:
      ArgumentTypeError: `x` isn't an array of numbers.
    """
    if isinstance(x, jax.Array):
        return x
    if not (hasattr(x, "__jax_array__") or _is_numeric(x)):
        raise _no_array(x, what)
    return jnp.asarray(x)


def shape_of(x: Any, what: str = "inputs") -> Shape:
    """The shape of an input that `as_array` accepts, or of a `jax.ShapeDtypeStruct`.

    Raises:
      ArgumentTypeError: `x` isn't an array of numbers.
    """
    if isinstance(x, jax.Array):
        return x.shape
    shape = getattr(x, "shape", None)
    if isinstance(shape, tuple) and not isinstance(x, np.ndarray):
        return shape
    if not _is_numeric(x):
        raise _no_array(x, what)
    return np.shape(x)


def _is_numeric(x: object) -> bool:
    try:
        return np.asarray(x).dtype.kind not in "OSU"
    except (TypeError, ValueError):  # a ragged sequence
        return False


def _no_array(x: object, what: str) -> ArgumentTypeError:
    return ArgumentTypeError(
        f"{what} must be an array of numbers, got {type(x).__name__}: {str(x)[:40]!r}."
    )


def integer(value: Any, name: str, *, least: int | None = 0) -> int:
    """Converts `value` to an int of at least `least`, or to any int if `least` is None.

    Raises:
      ArgumentTypeError: `value` isn't an integer.
      ArgumentError: `value` is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        hint = None
        if isinstance(value, float) and value.is_integer():
            hint = f"Write {int(value)}, or divide with // where it is computed."
        elif isinstance(value, list | tuple) and name == "features":
            hint = "It is the size of a single layer; create several layers one by one."
        raise ArgumentTypeError(
            f"'{name}' must be an integer, got {value!r} ({type(value).__name__}).",
            hint=hint,
        ) from None
    if least is not None and number < least:
        raise ArgumentError(f"'{name}' must be at least {least}, got {number}.")
    return number


def integers(value: Any, name: str, *, least: int | None = 0) -> Shape:
    """Converts one int or several to a tuple of ints.

    Raises:
      ArgumentTypeError: an item isn't an integer.
      ArgumentError: an item is too small.
    """
    if isinstance(value, str | bytes):
        raise ArgumentTypeError(
            f"'{name}' must be an int or a sequence of ints, got {value!r} "
            f"({type(value).__name__})."
        )
    if isinstance(value, Sequence | AbstractSet) or getattr(value, "ndim", 0) == 1:
        return tuple(integer(v, f"{name}[{i}]", least=least) for i, v in enumerate(value))
    return (integer(value, name, least=least),)


def axes_of(axes: Axes, rank: int, name: str, what: str = "the inputs") -> Shape:
    """Normalizes distinct dimensions: counted from the front, in ascending order.

    Args:
      axes: one dimension or several; negative ones count from the end.
      rank: the number of dimensions.
      name: name of the argument.
      what: name of the array in error messages.

    Raises:
      ArgumentTypeError: a dimension isn't an integer.
      ArgumentError: a dimension is out of range or repeated.

    >>> axes_of((-1, 0), 4, "axis")
    (0, 3)
    """
    if type(axes) is int and -rank <= axes < rank:  # the usual case
        return (axes % rank,)
    given = axes_in_range(axes, rank, name, what)
    if len(set(given)) < len(given):
        raise ArgumentError(
            f"{name}={axes!r} names a dimension twice; {what} have {counted(rank, 'dimension')}."
        )
    return tuple(sorted(given))


def axes_in_range(axes: Axes, rank: int, name: str, what: str = "the inputs") -> Shape:
    """Like `axes_of`, but keeps the order and repetitions of the dimensions."""
    given = integers(axes, name, least=None)
    for axis in given:
        if not -rank <= axis < rank:
            raise ArgumentError(
                f"{name}={axes!r} is out of range: {what} have {counted(rank, 'dimension')}.",
                hint=f"Valid axes are {-rank} to {rank - 1}." if rank else None,
            )
    return tuple(a % rank for a in given)


def check_rate(rate: object, name: str = "rate") -> float:
    """Converts `rate` to a float within [0, 1].

    Raises:
      ArgumentTypeError: `rate` isn't a number, or is only known at run time.
      ArgumentError: `rate` is outside [0, 1].
    """
    hint = "It is the probability of being dropped, not a percentage."
    if isinstance(rate, jax.core.Tracer):
        raise ArgumentTypeError(
            f"'{name}' must be a number within [0, 1], got {rate!r} ({type(rate).__name__}).",
            hint=(
                "The rate must be known at compile time: pass it as a Python number, or name "
                "its argument in `static_argnames`."
            ),
        )
    return _within_unit(rate, name, hint)


def fraction(value: object, name: str, hint: str) -> None:
    """Checks that a number is within [0, 1]; a traced number can't be checked.

    Args:
      value: the number.
      name: name of the argument.
      hint: hint of the error, which explains the number.

    Raises:
      ArgumentTypeError: `value` isn't a number.
      ArgumentError: `value` is outside [0, 1].
    """
    if not isinstance(value, jax.core.Tracer):
        _within_unit(value, name, hint)


def _within_unit(value: object, name: str, hint: str) -> float:
    number = _real(value, name, " within [0, 1]")
    if not 0.0 <= number <= 1.0:  # also catches NaN
        raise ArgumentError(f"'{name}' must be within [0, 1], got {number}.", hint=hint)
    return number


def not_negative(value: object, name: str) -> None:
    """Checks that a number is not negative; a traced number can't be checked.

    Raises:
      ArgumentTypeError: `value` isn't a number.
      ArgumentError: `value` is negative.
    """
    if isinstance(value, jax.core.Tracer):
        return
    number = _real(value, name, "")
    if not number >= 0:  # also catches NaN
        raise ArgumentError(f"'{name}' must be at least 0, got {number}.")


def _real(value: Any, name: str, where: str) -> float:
    if type(value) is float:  # the usual case
        return value
    try:
        if isinstance(value, str | bytes):  # `float` would parse these
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"'{name}' must be a number{where}, got {value!r} ({type(value).__name__})."
        ) from None


def vector_features(shape: Shape, what: str = "inputs") -> int:
    """The size of the last dimension.

    Raises:
      ShapeError: the shape has no dimensions.
    """
    if not shape:
        raise ShapeError(
            f"{what} must have at least one dimension (the features), got a scalar.",
            hint="Pass a single number as an array of shape (1,).",
        )
    return shape[-1]


def same_shape(array: Array, expected: Shape, what: str, *, hint: str) -> None:
    """Checks an array's shape; `hint` explains why the shape was expected."""
    if array.shape != expected:
        raise ShapeError(
            f"{what} has shape {array.shape}, expected {expected}.",
            hint=hint,
        )


def inexact(x: Array, what: str, purpose: str) -> None:
    """Checks that an array has a floating or complex dtype."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise DtypeError(
            f"{what} must be floating or complex to {purpose}, got dtype {x.dtype}.",
            hint="Convert them first, e.g. with `.astype(jax.numpy.float32)`.",
        )
