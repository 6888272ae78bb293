"""Replaces a value with new numbers: each device gets only its own piece, cast to the dtype.

A value that is split over devices is read in pieces, one after another: only the bytes of one piece
of a tensor are read from a file, and the host never holds the whole tensor. The placement of all
values is decided before the first is replaced. `module_core.placing` does the rest.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from ..errors import ShapeError
from ..layers.torch_layout import Numbers
from ..nnx import Variable
from ..nnx.variable.layout import sharding_for
from ..placing import Index, assembled, on_devices
from .arrays import own_copy
from .safetensors import Tensor


def place_of(value: Any, name: str, variable: Variable[Any] | None = None) -> Sharding | None:
    """The sharding that the next value gets; None for jax's default.

    It is that of the value. If the value is only a shape and dtype without a sharding, it is the
    one that the metadata of its `variable` specifies. An abstract mesh is replaced with the mesh of
    devices that is set.

    Raises:
      ArgumentError: the sharding's mesh is abstract, and no such mesh of devices is set.
      ShapeError: the sharding doesn't divide the shape.
    """
    found = getattr(value, "sharding", None)
    if variable is not None and isinstance(value, jax.ShapeDtypeStruct) and found is None:
        found = sharding_for(variable, value)
    if not isinstance(found, Sharding):
        return None
    found = on_devices(found, name)
    try:
        found.shard_shape(tuple(value.shape))
    except ValueError as error:
        raise ShapeError(
            f"{name} has shape {tuple(value.shape)}, which its sharding {found} doesn't divide."
        ) from error
    return found


def placed(
    source: Numbers | Tensor, dtype: np.dtype[Any], sharding: Sharding | None, *, own: bool
) -> jax.Array:
    """A jax array with the dtype and sharding.

    Unless the numbers are our `own`, they are copied: jax may use the memory of a NumPy array.

    Args:
      source: a tensor in a file, or an array.
      dtype: the dtype to cast to.
      sharding: the sharding; None for jax's default.
      own: whether no other code changes the array.
    """
    if sharding is None or len(sharding.device_set) == 1:
        array = np.asarray(source)
        if not own or array.dtype != dtype:
            array = own_copy(array, dtype)
        result: jax.Array = jax.device_put(array, sharding).block_until_ready()
        if not array.flags.c_contiguous:
            # jax has copied it in a different order, and releases the copy only at the next
            # transfer: by then, the next tensor would be in memory, too.
            jax.device_put(np.zeros((), np.int32))
        return result

    def piece(index: Index) -> np.ndarray[Any, Any]:
        if isinstance(source, Tensor):
            part = source.part(index)
            return part if part.dtype == dtype else own_copy(part, dtype)
        return own_copy(source[index], dtype)

    return assembled(source.shape, sharding, piece)
