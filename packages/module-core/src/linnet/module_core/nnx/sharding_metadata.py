"""Names of a variable's axes, for sharding: read from metadata, and used when the value is made.

`out_sharding` holds one name (or tuple of names, or None) for each axis of the value; `sharding`
and `sharding_names` are its older spellings.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from jax.sharding import PartitionSpec

from .._compat import reshard
from ..axis_rules import UNASSIGNED, assign_mesh_axes, get_logical_axis_rules
from ..errors import ArgumentError

_SPELLINGS = ("out_sharding", "sharding", "sharding_names")


def one_spelling(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the names of axes, however they are called, as `out_sharding`."""
    found = [key for key in _SPELLINGS if key in metadata]
    rest = {k: v for k, v in metadata.items() if k not in _SPELLINGS}
    return {**rest, "out_sharding": metadata[found[0]]} if found else rest


def axis_names_of(variable: Any) -> Any:
    """The names of the axes, or None."""
    metadata = variable._metadata
    for key in _SPELLINGS:
        if metadata.get(key) is not None:
            return metadata[key]
    return None


def spec_of(variable: Any) -> PartitionSpec:
    """The mesh axes over which a variable is split; `PartitionSpec()` where it names no axes.

    Rules, those in its metadata (`sharding_rules`) or else those that are set, say which mesh axes
    a name stands for; a name without a rule is a mesh axis itself.
    """
    make: Any = PartitionSpec
    names = axis_names_of(variable)
    if names is None:
        return make()  # type: ignore[no-any-return]
    rules = variable._metadata.get("sharding_rules") or get_logical_axis_rules()
    logical = {rule[0] for rule in rules or ()}
    if logical.isdisjoint(n for n in names if isinstance(n, str)):
        return make(*names)  # type: ignore[no-any-return]
    asked = [n if n in logical else None for n in names]
    axes = assign_mesh_axes(asked, rules)
    return make(  # type: ignore[no-any-return]
        *(
            name if given is None else None if axis is UNASSIGNED else axis
            for name, given, axis in zip(names, asked, axes, strict=True)
        )
    )


_eager: ContextVar[bool] = ContextVar("eager_sharding", default=True)


def using_eager_sharding() -> bool:
    """Whether variables that name their axes are laid out over the mesh when they are made."""
    return _eager.get()


class use_eager_sharding:
    """Says whether variables that name their axes are laid out over the mesh when they are made.

    Called, it holds from there on; in a `with` block, within it.
    """

    def __init__(self, value: bool, /) -> None:
        self._before = _eager.get()
        _eager.set(value)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        _eager.set(self._before)


def shard_on_creation(variable: Any, value: Any) -> Any:
    """The value, laid out over the mesh in its metadata or the one that is set, if there is one.

    Raises:
      ArgumentError: it names more axes than it has, or axes that the mesh lacks.
    """
    import jax
    from jax.sharding import Mesh, NamedSharding, get_abstract_mesh

    names = axis_names_of(variable)
    if names is None or not hasattr(value, "ndim"):
        return value
    if not variable._metadata.get("eager_sharding", _eager.get()):
        return value
    mesh = variable._metadata.get("mesh")
    here: Any = mesh if mesh is not None else get_abstract_mesh()
    if not here.axis_names:
        return value
    spec = spec_of(variable)
    _check(spec, value, here, type(variable).__name__)
    sharding: Any = spec if mesh is None else NamedSharding(mesh, spec)
    if isinstance(mesh, Mesh) and not isinstance(value, jax.core.Tracer):
        return jax.device_put(value, sharding)
    return lay_out(value, sharding)


def _check(spec: PartitionSpec, value: Any, mesh: Any, kind: str) -> None:
    if len(spec) > value.ndim:
        raise ArgumentError(
            f"A {kind} of shape {tuple(value.shape)} has {value.ndim} axes, but {len(spec)} names"
            f" for them: {tuple(spec)}.",
            hint="Give one name, or None, for each axis.",
        )
    used = [n for entry in spec for n in (entry if isinstance(entry, tuple) else (entry,))]
    unknown = [n for n in used if isinstance(n, str) and n not in mesh.axis_names]
    if unknown:
        raise ArgumentError(
            f"Resource axis: {', '.join(unknown)} of {tuple(spec)} is not found in mesh:"
            f" {tuple(mesh.axis_names)}.",
            hint="Name axes of the mesh, or say what a name stands for by a rule:"
            f" nnx.logical_axis_rules([({unknown[0]!r}, mesh axis)]).",
        )


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


def add_axis_name(variable: Any, axis: int, name: str | None) -> None:
    """The value of a variable got an axis more: its metadata and hooks are told."""
    for key in _SPELLINGS:
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
    for key in _SPELLINGS:
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
