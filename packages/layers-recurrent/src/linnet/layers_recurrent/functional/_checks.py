"""Checks the arguments before JAX does, with errors that say how to fix them."""

from __future__ import annotations

import operator
from typing import Any

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

from ._types import Array, Shape


def integer(value: Any, name: str, *, least: int = 0) -> int:
    """`value` as an int that is at least `least`.

    Raises:
      ArgumentTypeError: it is not an integer.
      ArgumentError: it is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        whole = isinstance(value, float) and value.is_integer()
        raise ArgumentTypeError(
            f"'{name}' must be an integer, got {value!r} ({type(value).__name__}).",
            hint=f"Write {int(value)}, or divide with // where it is computed." if whole else None,
        ) from None
    if number < least:
        raise ArgumentError(f"'{name}' must be at least {least}, got {number}.")
    return number


def shape_of(x: Any, what: str = "inputs") -> Shape:
    """The shape of an array.

    Raises:
      ArgumentTypeError: `x` is not an array.
    """
    shape = getattr(x, "shape", None)
    if not isinstance(shape, tuple):
        raise ArgumentTypeError(
            f"{what} must be an array, got {type(x).__name__}: {x!r:.40}.",
            hint="Convert it with jax.numpy.asarray.",
        )
    return shape


def vector_features(shape: Shape) -> int:
    """The size of the last dimension.

    Raises:
      ShapeError: there is none.
    """
    if not shape:
        raise ShapeError(
            "inputs must have at least one dimension (the features), got a scalar.",
            hint="For one number, pass it as an array of shape (1,).",
        )
    return shape[-1]


def entries_of(carry: Any, names: tuple[str, ...]) -> tuple[Array, ...]:
    """The arrays of a carry, which is one array or a tuple of several.

    Raises:
      ArgumentTypeError: the carry has another structure.
    """
    entries = (carry,) if len(names) == 1 else carry
    if (
        not isinstance(entries, tuple | list)
        or len(entries) != len(names)
        or any(not hasattr(e, "shape") for e in entries)
    ):
        expected = "one array" if len(names) == 1 else f"a tuple of arrays ({', '.join(names)})"
        raise ArgumentTypeError(
            f"carry must be {expected}, got {_described(carry)}.",
            hint="`initialize_carry` of the cell makes one.",
        )
    return tuple(entries)


def _described(carry: Any) -> str:
    if hasattr(carry, "shape"):
        return f"one array of shape {carry.shape}"
    if isinstance(carry, tuple | list):
        return f"a {type(carry).__name__} of {len(carry)}"
    return f"{carry!r:.60} ({type(carry).__name__})"


def fitting(entries: tuple[Any, ...], names: tuple[str, ...], shape: Shape) -> None:
    """Checks that the entries of a carry have the shape that the inputs require.

    Raises:
      ShapeError: one has another shape.
    """
    for name, entry in zip(names, entries, strict=True):
        if entry.shape != shape:
            raise ShapeError(
                f"'{name}' of the carry has shape {entry.shape}, expected {shape}.",
                hint="A carry has the batch dimensions of the inputs and the cell's features; "
                "`initialize_carry` of the cell makes one.",
            )
