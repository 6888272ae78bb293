"""Puts values on devices: where they belong, and how they get there.

All ways in which values from elsewhere get into a model (a state dict, an update of a module, a
file of weights, `sharding.place`) end here: `target_layout` says where a value belongs, and
`laid_out` or `assembled` puts it there.

A value that every process has as a whole (a NumPy array from a file, an array on one device, a key)
is cut by each process into the parts that its devices hold: nothing is sent. A value that is
already spread over processes is moved by a compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import (
    AbstractMesh,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from ._compat import mesh_that_is_set
from .errors import ArgumentError

Index: TypeAlias = tuple[slice, ...]
_Bounds: TypeAlias = tuple[tuple[int, int], ...]


def laid_out(x: Any, layout: Sharding) -> jax.Array:
    """An array or key with a layout, which may include devices of other processes.

    Args:
      x: the same value in all processes, or an array that is spread over the same devices.
      layout: the layout.

    Raises:
      ValueError: the layout doesn't divide the array, or keys across processes have a layout that
        is not a `NamedSharding`.
    """
    if isinstance(x, jax.core.Tracer):
        traced: jax.Array = jax.lax.with_sharding_constraint(x, layout)  # type: ignore[no-untyped-call]
        return traced
    if layout.is_fully_addressable:
        placed: jax.Array = jax.device_put(x, layout)
        return placed
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        if x.sharding.is_equivalent_to(layout, x.ndim):
            return x
        moved: jax.Array = jax.jit(_same, out_shardings=layout)(x)
        return moved
    if not _is_key(x):
        return _cut(np.asarray(x), layout)
    data = np.asarray(jax.random.key_data(x))
    impl = jax.random.key_impl(x)
    # A key's numbers are along additional axes, which are not split.
    spec = layout.spec if isinstance(layout, NamedSharding) else None
    if spec is None:
        raise ValueError("keys need a NamedSharding")
    entries = (*spec, *(None,) * (data.ndim - len(spec)))
    of_data = NamedSharding(layout.mesh, PartitionSpec(*entries))  # type: ignore[attr-defined, no-untyped-call]

    def wrapped(numbers: jax.Array) -> Any:
        return jax.random.wrap_key_data(numbers, impl=impl)

    keys: jax.Array = jax.jit(wrapped, out_shardings=layout)(_cut(data, of_data))
    return keys


def _cut(values: np.ndarray[Any, Any], layout: Sharding) -> jax.Array:
    return assembled(values.shape, layout, lambda index: values[index])


def _same(x: jax.Array) -> jax.Array:
    return x


def assembled(
    shape: tuple[int, ...], layout: Sharding, piece: Callable[[Index], np.ndarray[Any, Any]]
) -> jax.Array:
    """An array made of the pieces that the devices of this process hold.

    Each piece is requested once, no matter how many devices hold it, and transferred before the
    next one is requested; otherwise, pieces in transit would pile up in memory.

    Args:
      shape: the shape of the whole array.
      layout: the array's layout.
      piece: returns the part of the array at an index, which has a slice for each axis.
    """
    devices_of: dict[_Bounds, list[Any]] = {}
    where = layout.addressable_devices_indices_map(shape)
    for device, index in where.items():
        devices_of.setdefault(_bounds(index, shape), []).append(device)
    on_device: dict[Any, jax.Array] = {}
    for bounds, devices in devices_of.items():
        part = piece(tuple(slice(*b) for b in bounds))
        for device in devices:
            one = SingleDeviceSharding(device, memory_kind=layout.memory_kind)
            on_device[device] = jax.device_put(part, one).block_until_ready()
        del part
    return jax.make_array_from_single_device_arrays(
        shape, layout, [on_device[device] for device in where]
    )


def _bounds(index: Index | None, shape: tuple[int, ...]) -> _Bounds:
    whole = index if index is not None else tuple(slice(None) for _ in shape)
    return tuple(s.indices(n)[:2] for s, n in zip(whole, shape, strict=True))


def on_devices(layout: Sharding, what: str) -> Sharding:
    """A layout; for one on an abstract mesh, the same layout on the mesh that is set.

    Args:
      layout: the layout.
      what: the value that it belongs to, for the error.

    Raises:
      ArgumentError: the mesh is abstract, and no mesh of devices with its axes is set.
    """
    mesh = getattr(layout, "mesh", None)
    if not isinstance(mesh, AbstractMesh):
        return layout
    here: Mesh | None = mesh_that_is_set()
    if here is None or dict(here.shape) != dict(mesh.shape):
        raise ArgumentError(
            f"The sharding of {what} is on the abstract mesh {dict(mesh.shape)}, which has no"
            " devices.",
            hint="Load within jax.set_mesh(mesh), with a mesh of devices that has these axes.",
        )
    return NamedSharding(here, getattr(layout, "spec"))  # noqa: B009


def target_layout(old: object, new: object) -> Sharding | None:
    """The layout of the value that `new` replaces, if `new` should get it, or None.

    It should get that layout if the old value is spread over several devices, both have the same
    shape, and the program hasn't placed the new one: it is a NumPy array, or a jax array on
    jax's default device that is not `committed`. An array that a program has placed stays where it
    is.
    """
    if isinstance(old, jax.core.Tracer) or new is old:
        return None
    layout = getattr(old, "sharding", None)
    if type(layout) is SingleDeviceSharding or not isinstance(layout, Sharding):
        return None
    if isinstance(new, jax.core.Tracer) or not isinstance(new, jax.Array | np.ndarray | np.generic):
        return None
    if new.shape != getattr(old, "shape", None):
        return None
    if isinstance(new, jax.Array):
        if new.committed:
            return None
    elif new.dtype.kind in "OSUMm":  # jax has no such arrays
        return None
    mesh = getattr(layout, "mesh", None)
    if isinstance(mesh, AbstractMesh) or len(layout.device_set) < 2:
        return None
    return layout


def _is_key(x: Any) -> bool:
    return bool(jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key))
