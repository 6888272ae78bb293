"""Values from a file, laid out over devices like the arrays that they replace.

A restored value is a NumPy array, and the next step of a training program would put the whole array
on one device, or on each of them. Where the target's array is spread over devices, each device gets
its part instead. With a target on one device, values stay as they are: a program that reads files
without a mesh gets NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Sharding, SingleDeviceSharding


def in_place_of(old: object, new: object) -> object:
    """`new`, with the layout of `old` if that is spread over devices and `new` isn't placed yet.

    Args:
      old: the target's leaf; its layout is used if it is an array on several devices, or the shape
        and dtype of one.
      new: the value that replaces it. A jax array that the program has placed (`committed`) stays
        where it is, and so does one of a different shape.
    """
    if new is old or not isinstance(old, jax.Array | jax.ShapeDtypeStruct):
        return new
    if isinstance(old, jax.core.Tracer) or isinstance(new, jax.core.Tracer):
        return new
    layout = old.sharding
    if type(layout) is SingleDeviceSharding or not isinstance(layout, Sharding):
        return new
    if not isinstance(new, jax.Array | np.ndarray | np.generic) or new.shape != old.shape:
        return new
    if isinstance(getattr(layout, "mesh", None), AbstractMesh) or len(layout.device_set) < 2:
        return new
    if isinstance(jnp.zeros(()), jax.core.Tracer):
        return new  # under a jax transform, XLA decides
    if isinstance(new, jax.Array):
        if new.committed:
            return new
        if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
            return jax.device_put(new, layout) if layout.is_fully_addressable else new
    elif new.dtype.kind in "OSUMm":  # jax has no such arrays
        return new
    values: np.ndarray[Any, Any] = np.asarray(new)
    return jax.make_array_from_callback(values.shape, layout, lambda index: values[index])
