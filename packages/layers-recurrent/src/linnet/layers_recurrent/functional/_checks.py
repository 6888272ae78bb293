"""Checks the arguments before JAX does, with errors that say how to fix them."""

from __future__ import annotations

from typing import Any

from linnet.module_core.errors import ArgumentTypeError, ShapeError
from linnet.module_core.layers import Array, Shape


def entries_of(carry: object, names: tuple[str, ...]) -> tuple[Array, ...]:
    """The arrays of a carry, which is one array or a tuple of several.

    Raises:
      ArgumentTypeError: the carry has a different structure.
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
            hint="The cell's `initialize_carry` makes one.",
        )
    return tuple(entries)


def _described(carry: object) -> str:
    if hasattr(carry, "shape"):
        return f"one array of shape {carry.shape}"
    if isinstance(carry, tuple | list):
        return f"a {type(carry).__name__} of {len(carry)}"
    return f"{carry!r:.60} ({type(carry).__name__})"


def fitting(entries: tuple[Any, ...], names: tuple[str, ...], shape: Shape) -> None:
    """Checks that the entries of a carry have the shape that the inputs require.

    Raises:
      ShapeError: an entry has a different shape.
    """
    for name, entry in zip(names, entries, strict=True):
        if entry.shape != shape:
            raise ShapeError(
                f"'{name}' of the carry has shape {entry.shape}, expected {shape}.",
                hint=(
                    "A carry has the batch dimensions of the inputs and the cell's features; "
                    "the cell's `initialize_carry` makes one."
                ),
            )
