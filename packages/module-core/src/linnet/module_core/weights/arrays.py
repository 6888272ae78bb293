"""Tensors of any library as NumPy arrays, one at a time."""

from __future__ import annotations

from typing import Any

import jax
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
    if hasattr(value, "detach"):  # a PyTorch tensor, maybe on another device
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none; float32 has all its numbers
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


def placed(array: Numbers, sharding: Any) -> Any:
    """A NumPy array that nobody else changes, as an array of jax with that sharding."""
    return jnp.asarray(array) if sharding is None else jax.device_put(array, sharding)
