"""Names of a variable's axes, for sharding: read from metadata, and used when the value is made.

`out_sharding` holds one name (or tuple of names, or None) for each axis of the value; `sharding`
and `sharding_names` are its older spellings.
"""

from __future__ import annotations

from typing import Any


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
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    spec_of: Any = PartitionSpec
    constrain: Any = jax.lax.with_sharding_constraint

    mesh = variable._metadata.get("mesh")
    names = axis_names_of(variable)
    if mesh is None or not isinstance(mesh, Mesh) or names is None:
        return value
    if variable._metadata.get("eager_sharding", True) is False:
        return value
    spec = names if isinstance(names, PartitionSpec) else spec_of(*names)
    sharding = NamedSharding(mesh, spec)
    if isinstance(value, jax.core.Tracer):
        return constrain(value, sharding)
    return jax.device_put(value, sharding)
