"""Puts numbers where a value was: each device gets its piece, cast, and nothing more.

A value that is split over devices is read in pieces, one after another: of a tensor in a file, only
the bytes of a piece are read, and the host never holds the tensor as a whole. Where a value is to
be is decided for all of them before the first is replaced.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, Sharding, SingleDeviceSharding

from .._compat import mesh_that_is_set
from ..errors import ArgumentError, ShapeError
from ..layers.torch_layout import Numbers
from ..nnx import Variable
from ..nnx.variable.layout import sharding_for
from .arrays import own_copy
from .safetensors import Tensor

Bounds: TypeAlias = tuple[tuple[int, int], ...]


def place_of(value: Any, name: str, variable: Variable[Any] | None = None) -> Sharding | None:
    """The sharding that the next value gets; None for jax's default.

    It is that of the value. A shape and dtype alone may have none, and then has the one that the
    metadata of its `variable` specifies. A sharding on an abstract mesh is one on the mesh of
    devices that is set.

    Raises:
      ArgumentError: its mesh is abstract, and no such mesh of devices is set.
      ShapeError: it doesn't divide the shape.
    """
    found = getattr(value, "sharding", None)
    if variable is not None and isinstance(value, jax.ShapeDtypeStruct) and found is None:
        found = sharding_for(variable, value)
    if not isinstance(found, Sharding):
        return None
    mesh = getattr(found, "mesh", None)
    if isinstance(mesh, AbstractMesh):
        found = NamedSharding(_mesh_of_devices(mesh, name), getattr(found, "spec"))  # noqa: B009
    try:
        found.shard_shape(tuple(value.shape))
    except ValueError as error:
        raise ShapeError(
            f"{name} has shape {tuple(value.shape)}, which its sharding {found} doesn't divide."
        ) from error
    return found


def _mesh_of_devices(mesh: AbstractMesh, name: str) -> Mesh:
    here = mesh_that_is_set()
    if here is None or dict(here.shape) != dict(mesh.shape):
        raise ArgumentError(
            f"The sharding of {name} is on the abstract mesh {dict(mesh.shape)}, which has no"
            " devices.",
            hint="Load within jax.set_mesh(mesh), with a mesh of devices that has these axes.",
        )
    return here


def placed(
    source: Numbers | Tensor, dtype: np.dtype[Any], sharding: Sharding | None, *, own: bool
) -> jax.Array:
    """An array of jax with the dtype and sharding.

    Unless the numbers are our `own`, they are copied: jax may use the memory of an array of NumPy.
    Waits for each transfer; otherwise, pieces that are still on their way pile up in memory.

    Args:
      source: a tensor in a file, or an array.
      dtype: cast to.
      sharding: None for jax's default.
      own: whether nobody else changes the array.
    """
    if sharding is None or sharding.is_fully_replicated or len(sharding.device_set) == 1:
        array = np.asarray(source)
        if not own or array.dtype != dtype:
            array = own_copy(array, dtype)
        result: jax.Array = jax.device_put(array, sharding).block_until_ready()
        return result
    devices_of: dict[Bounds, list[Any]] = {}
    where = sharding.addressable_devices_indices_map(source.shape)
    for device, index in where.items():
        devices_of.setdefault(_bounds(index, source.shape), []).append(device)
    on_device: dict[Any, jax.Array] = {}
    for bounds, devices in devices_of.items():
        index = tuple(slice(*b) for b in bounds)
        if isinstance(source, Tensor):
            piece = source.part(index)
            piece = piece if piece.dtype == dtype else own_copy(piece, dtype)
        else:
            piece = own_copy(source[index], dtype)
        for device in devices:
            one = SingleDeviceSharding(device, memory_kind=sharding.memory_kind)
            on_device[device] = jax.device_put(piece, one).block_until_ready()
        del piece
    return jax.make_array_from_single_device_arrays(
        source.shape, sharding, [on_device[device] for device in where]
    )


def _bounds(index: tuple[slice, ...] | None, shape: tuple[int, ...]) -> Bounds:
    whole = index if index is not None else tuple(slice(None) for _ in shape)
    return tuple(s.indices(n)[:2] for s, n in zip(whole, shape, strict=True))
