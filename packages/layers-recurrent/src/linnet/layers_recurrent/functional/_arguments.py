"""What a sequence function is given, checked and brought to one dtype."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.errors import ArgumentTypeError, ShapeError

from ._types import Array, DTypeLike, Shape
from .affine import Affine


def entries_of(carry: Any, names: tuple[str, ...]) -> tuple[Array, ...]:
    """The arrays that a carry consists of: one by itself, or a tuple of several.

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
    """Refuses the entries of a carry that are of another shape than the inputs ask for.

    Raises:
      ShapeError: one is.
    """
    for name, entry in zip(names, entries, strict=True):
        if entry.shape != shape:
            raise ShapeError(
                f"'{name}' of the carry has shape {entry.shape}, expected {shape}.",
                hint="A carry has the batch dimensions of the inputs and the cell's features; "
                "`initialize_carry` of the cell makes one.",
            )


def in_one_dtype(inputs: Affine, recurrent: Affine, h: Array, xs: Array) -> tuple[Affine, Affine]:
    """Both maps in the type that a step would compute its gates in."""
    arrays = (xs, h, inputs.kernel, inputs.bias, recurrent.kernel, recurrent.bias)
    dtype: DTypeLike = canonicalize_dtype(*arrays, dtype=inputs.dtype)
    return _cast(inputs, dtype), _cast(recurrent, dtype)


def _cast(affine: Affine, dtype: DTypeLike) -> Affine:
    bias = None if affine.bias is None else jnp.asarray(affine.bias, dtype)
    return Affine(jnp.asarray(affine.kernel, dtype), bias, dtype)


def without_recurrent_bias(inputs: Affine, recurrent: Affine) -> tuple[Affine, Affine]:
    """The same sum of both maps, with all of the bias on the side that is computed once a chunk."""
    if recurrent.bias is None:
        return inputs, recurrent
    bias = recurrent.bias if inputs.bias is None else inputs.bias + recurrent.bias
    return Affine(inputs.kernel, bias, inputs.dtype), Affine(recurrent.kernel, None)
