"""Tensors of any library as NumPy arrays, one at a time."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..errors import ArgumentTypeError
from ..layers.torch_layout import Numbers


def shape_of(tensor: object) -> tuple[int, ...]:
    """The shape, without reading the numbers."""
    return tuple(int(n) for n in getattr(tensor, "shape", ()))


def dtype_of(tensor: object) -> np.dtype[Any] | None:
    """The dtype if it is one of NumPy's or jax's, otherwise None."""
    found = getattr(tensor, "dtype", None)
    try:
        return None if found is None else np.dtype(found)
    except TypeError:
        return None


def numbers(tensor: Any, name: str) -> Numbers:
    """The numbers of a NumPy or jax array, a PyTorch tensor, or anything else with `__array__`.

    Raises:
      ArgumentTypeError: it holds no numbers.
    """
    value = tensor
    if hasattr(value, "detach"):  # a PyTorch tensor, possibly on another device
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none; float32 holds its values
            return np.asarray(value.float().numpy()).astype(jnp.bfloat16)
        value = value.numpy()
    elif not hasattr(value, "__array__") and hasattr(value, "numpy"):
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind in "USMm":
        raise ArgumentTypeError(
            f"{name!r} is a {type(tensor).__name__}, expected an array.",
            hint="Pass the model's state dict: names and tensors.",
        )
    return array


_ALIGNMENT = 64  # bytes; jax's CPU backend uses such memory as it is, without a copy
_TILE = 256


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Numbers:
    """An array without values, in memory that jax can use."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def own_copy(array: Numbers, dtype: np.dtype[Any]) -> Numbers:
    """A copy in memory that jax can use, with a different dtype."""
    copy = aligned(array.shape, dtype)
    if array.ndim == 2 and array.T.flags.c_contiguous:
        # In tiles: copied row by row, a transposed matrix would be read from all over memory.
        for i in range(0, array.shape[0], _TILE):
            for j in range(0, array.shape[1], _TILE):
                copy[i : i + _TILE, j : j + _TILE] = array[i : i + _TILE, j : j + _TILE]
    else:
        copy[...] = array
    return copy
