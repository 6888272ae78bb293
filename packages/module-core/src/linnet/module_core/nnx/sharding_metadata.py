"""Names of a variable's axes, for sharding: read from metadata, and used when the value is made.

`out_sharding` holds one name (or tuple of names, or None) for each axis of the value; `sharding`
and `sharding_names` are its older spellings.
"""

from __future__ import annotations

from typing import Any

from jax.sharding import PartitionSpec

from .._compat import reshard
from ..errors import ArgumentError


def axis_names_of(variable: Any) -> Any:
    """The names of the axes, or None."""
    metadata = variable._metadata
    for key in ("out_sharding", "sharding", "sharding_names"):
        if metadata.get(key) is not None:
            return metadata[key]
    return None


def shard_on_creation(variable: Any, value: Any) -> Any:
    """The value, laid out over the mesh in its metadata or the one that is set, if there is one."""
    import jax
    from jax.sharding import Mesh, NamedSharding

    spec_of: Any = PartitionSpec

    mesh = variable._metadata.get("mesh")
    names = axis_names_of(variable)
    if mesh is None or not isinstance(mesh, Mesh) or names is None:
        return value
    if variable._metadata.get("eager_sharding", True) is False:
        return value
    spec = names if isinstance(names, PartitionSpec) else spec_of(*names)
    sharding = NamedSharding(mesh, spec)
    if isinstance(value, jax.core.Tracer):
        return lay_out(value, sharding)
    return jax.device_put(value, sharding)


def lay_out(value: Any, sharding: Any) -> Any:
    """A value in a jitted function, laid out over devices; `sharding` None leaves it to XLA."""
    import jax
    from jax.sharding import AxisType, NamedSharding, get_abstract_mesh

    if sharding is None:
        return value
    mesh: Any = sharding.mesh if isinstance(sharding, NamedSharding) else get_abstract_mesh()
    types = getattr(mesh, "axis_types", None) or ()
    if types and all(t == AxisType.Explicit for t in types):
        # There a layout is part of the type, which a constraint can't change.
        return reshard(value, sharding)
    constrain: Any = jax.lax.with_sharding_constraint
    return constrain(value, sharding)


PARTITION_NAME = "partition_name"
"""The key of `transform_metadata` for the name of the axis."""

_NAMES = ("out_sharding", "sharding", "sharding_names")


def add_axis_name(variable: Any, axis: int, name: str | None) -> None:
    """The value of a variable got an axis more: its metadata and hooks are told."""
    for key in _NAMES:
        names = variable._metadata.get(key)
        if names is not None:
            listed = list(names)
            while len(listed) < (axis if axis >= 0 else 0):
                listed.append(None)
            position = axis if axis >= 0 else len(listed) + 1 + axis
            listed.insert(position, name)
            variable.set_metadata(key, _like(names, listed))
    variable.add_axis(axis, name)


def remove_axis_name(variable: Any, axis: int, name: str | None) -> None:
    """The value of a variable lost an axis: its metadata and hooks are told."""
    for key in _NAMES:
        names = variable._metadata.get(key)
        if names is None or not names:
            continue
        listed = list(names)
        found = listed[axis] if -len(listed) <= axis < len(listed) else None
        if found != name:
            raise ArgumentError(
                f"Expected axis {name!r} at index {axis} of the variable's {key} {tuple(names)},"
                f" found {found!r}.",
                hint="transform_metadata names the axis that the transform takes away.",
            )
        del listed[axis]
        variable.set_metadata(key, _like(names, listed))
    variable.remove_axis(axis, name)


def _like(names: Any, listed: list[Any]) -> Any:
    spec: Any = PartitionSpec
    return spec(*listed) if isinstance(names, spec) else tuple(listed)
