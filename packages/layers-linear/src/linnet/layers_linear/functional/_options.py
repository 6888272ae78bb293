"""Options that are passed only if they are set, and the check of a sharding."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding

from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import OutSharding


def given(**options: object) -> dict[str, Any]:
    """The options that aren't None.

    A replacement for a JAX function need not accept all of that function's options, and an older
    JAX may not have them.
    """
    return {name: value for name, value in options.items() if value is not None}


def checked_sharding(out_sharding: OutSharding | None) -> OutSharding | None:
    """The sharding, after checking that its axes are those of a mesh, and explicit.

    Raises:
      ArgumentError: no mesh is set for a `PartitionSpec`, or an axis is not explicit.
    """
    if out_sharding is None:
        return None
    if isinstance(out_sharding, NamedSharding):
        mesh: Any = out_sharding.mesh
        spec = out_sharding.spec
    else:
        mesh, spec = jax.sharding.get_abstract_mesh(), out_sharding
    if mesh.empty:
        raise ArgumentError(
            f"out_sharding={spec} names axes of a mesh, but no mesh is set.",
            hint="Call the layer within `with jax.set_mesh(mesh)`, or pass a NamedSharding.",
        )
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    for entry in spec:
        for name in entry if isinstance(entry, tuple) else (entry,):
            if types.get(name, AxisType.Explicit) != AxisType.Explicit:
                raise ArgumentError(
                    f"out_sharding={spec} names the axis {name!r} of the mesh, which is not "
                    "explicit.",
                    hint="Make the mesh with axes of AxisType.Explicit, or constrain the output: "
                    "jax.lax.with_sharding_constraint(y, sharding).",
                )
    return out_sharding
