"""Constraints on the layout of an array over the devices of a mesh.

The mesh is the one that a program has set (`jax.set_mesh`), or one that is passed. Without a mesh,
a constraint leaves its array as it is, so a model with constraints runs unchanged on one device. On
a mesh with explicit axes, where the layout is part of an array's type, a constraint moves the
array. Within `shard_map`, the axes that are already split are omitted.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from ..._compat import CONSTRAINS_BESIDE_MANUAL_AXES, reshard
from ...errors import ArgumentError, ArgumentTypeError, counted

T = TypeVar("T")


def get_global_mesh() -> AbstractMesh | None:
    """The mesh that the program has set, or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if mesh.axis_names else None


def global_mesh_defined() -> bool:
    """Whether the program has set a mesh."""
    return get_global_mesh() is not None


def spec_of(entries: Iterable[Any]) -> PartitionSpec:
    """A `PartitionSpec` of `entries`."""
    return PartitionSpec(*entries)  # type: ignore[no-untyped-call]


def constrain(tree: T, spec: PartitionSpec, mesh: Mesh | None = None) -> T:
    """Constrains the layout of every array in `tree`; everything else is left unchanged.

    Args:
      tree: a tree of arrays.
      spec: the mesh axis, or axes, that each leading axis is split over; None: not split.
      mesh: the mesh, or None for the one that the program has set.

    Raises:
      ArgumentError: `spec` names an axis that the mesh lacks, or has more axes than an array.
    """
    context = get_global_mesh()
    here: Mesh | AbstractMesh | None = context if mesh is None else mesh
    if here is None:
        return tree
    _check_axes(spec, here)
    # Axes that shard_map has split are manual; only the context mesh records this.
    manual = {a for m in (here, context) if m is not None for a in _axes(m, AxisType.Manual)}
    if manual >= set(here.axis_names):
        return tree
    if manual and not CONSTRAINS_BESIDE_MANUAL_AXES:
        return tree  # a constraint does not change values, only where they are computed
    if manual:
        spec = spec_of(_without(entry, manual) for entry in spec)
    explicit = set(_axes(here, AxisType.Explicit)) == set(here.axis_names)
    target = spec if mesh is None else NamedSharding(mesh, spec)

    def apply(x: object) -> object:
        if not isinstance(x, jax.Array | np.ndarray | np.generic | int | float | complex):
            return x
        if np.ndim(x) < len(spec):
            raise ArgumentError(
                f"An array of shape {np.shape(x)} cannot be laid out by {spec}, which has "
                f"{counted(len(spec), 'axis', 'axes')}.",
                hint="Pass one name, or None, for each axis of the array.",
            )
        try:
            if explicit:
                return reshard(x, target)
            if isinstance(x, jax.core.Tracer) or isinstance(target, NamedSharding):
                return jax.lax.with_sharding_constraint(x, target)  # type: ignore[no-untyped-call]
            # Outside jit, jax accepts a spec only for an array that is already on the mesh.
            return _laid_out(x, spec)
        except ValueError as error:
            raise _not_divisible("An array", np.shape(x), spec, here) or error from error

    constrained: T = jax.tree.map(apply, tree)
    return constrained


def _not_divisible(
    what: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh
) -> ArgumentError | None:
    """The error for the first axis of an array that a mesh doesn't divide, or None.

    Args:
      what: a description of the array.
      shape: its shape.
      spec: the mesh axes that its axes are split over.
      mesh: the mesh.
    """
    for i, (size, entry) in enumerate(zip(shape, spec, strict=False)):
        names = [n for n in (entry if isinstance(entry, tuple) else (entry,)) if n in mesh.shape]
        parts = math.prod(mesh.shape[n] for n in names)
        if size % parts:
            return ArgumentError(
                f"{what} of shape {tuple(shape)} cannot be laid out by {tuple(spec)}: its axis {i}"
                f" has {counted(size, 'element')}, and {' x '.join(map(repr, names))} of the mesh"
                f" splits it into {parts} parts.",
                hint=(
                    f"Choose a size that is a multiple of {parts}, or leave the axis unsplit: "
                    f"None instead of {entry!r}."
                ),
            )
    return None


@functools.partial(jax.jit, static_argnums=1)
def _laid_out(x: object, spec: PartitionSpec) -> object:
    return jax.lax.with_sharding_constraint(x, spec)  # type: ignore[no-untyped-call]


def named_sharding(mesh: Mesh, spec: PartitionSpec) -> NamedSharding:
    """The sharding `spec` on `mesh`.

    Raises:
      ArgumentTypeError: `mesh` is not a mesh.
      ArgumentError: it lacks an axis of `spec`.
    """
    if not isinstance(mesh, Mesh | AbstractMesh):
        raise ArgumentTypeError(
            f"Expected a mesh, got {mesh!r:.60}.",
            hint='Make one: jax.make_mesh((4, 2), ("data", "model")).',
        )
    _check_axes(spec, mesh)
    return NamedSharding(mesh, spec)


def _check_axes(spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> None:
    for entry in spec:
        for axis in entry if isinstance(entry, tuple) else (entry,):
            if isinstance(axis, str) and axis not in mesh.axis_names:
                raise ArgumentError(
                    f"The mesh has no axis {axis!r} of {spec}; its axes are "
                    f"{', '.join(map(repr, mesh.axis_names))}.",
                    hint=(
                        "Partitioned takes axes of the mesh. Logical names, which rules "
                        "translate to mesh axes, belong in LogicallyPartitioned."
                    ),
                )


def _axes(mesh: Mesh | AbstractMesh, kind: AxisType) -> list[Any]:
    return [a for a, t in zip(mesh.axis_names, mesh.axis_types, strict=True) if t == kind]


def _without(entry: object, axes: set[Any]) -> object:
    if isinstance(entry, tuple):
        return tuple(a for a in entry if a not in axes) or None
    return None if entry in axes else entry
