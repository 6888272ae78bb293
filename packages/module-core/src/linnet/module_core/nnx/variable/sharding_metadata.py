"""Names of a variable's axes for sharding: read from metadata, and kept in sync with the value.

`out_sharding` holds one name (or tuple of names, or None) for each axis of the value, or a
`NamedSharding` (or `Format`), which includes the mesh; `sharding` and `sharding_names` are older
spellings of it. `layout` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from jax.sharding import NamedSharding, PartitionSpec, Sharding

from ...axis_rules import UNASSIGNED, assign_mesh_axes, check_known, get_logical_axis_rules
from ...config import config
from ...errors import ArgumentError

if TYPE_CHECKING:
    from .variable import Variable

_SPELLINGS = ("out_sharding", "sharding", "sharding_names")


def one_spelling(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the names of the axes under `out_sharding`, whichever spelling was used."""
    found = [key for key in _SPELLINGS if key in metadata]
    rest = {k: v for k, v in metadata.items() if k not in _SPELLINGS}
    return {**rest, "out_sharding": metadata[found[0]]} if found else rest


def axis_names_of(variable: Variable[Any]) -> object:
    """The names of the axes, or None."""
    metadata = variable._metadata
    for key in _SPELLINGS:
        if metadata.get(key) is not None:
            return metadata[key]
    return None


def lies_as(names: object) -> object:
    """The `NamedSharding` or `Format` given instead of names, or None if names are given."""
    if type(names) is tuple:
        return None
    if isinstance(names, Sharding) or isinstance(getattr(names, "sharding", None), Sharding):
        return names
    return None


def mesh_of(variable: Variable[Any]) -> Any:
    """The mesh in the metadata, given separately or in a sharding, or None."""
    mesh = variable._metadata.get("mesh")
    whole = lies_as(axis_names_of(variable))
    return getattr(_sharding_in(whole), "mesh", None) if mesh is None else mesh


def _spec_in(whole: object) -> PartitionSpec:
    make: Any = PartitionSpec
    spec: PartitionSpec | None = getattr(_sharding_in(whole), "spec", None)
    return spec if spec is not None else make()


def spec_of(variable: Variable[Any]) -> PartitionSpec:
    """The mesh axes over which a variable is split; `PartitionSpec()` if it names no axes.

    Rules map names to mesh axes: those in the metadata (`sharding_rules`), or else those that are
    set. A name without a rule is a mesh axis itself.
    """
    return spec_for(axis_names_of(variable), variable._metadata)


def spec_for(names: Any, metadata: Mapping[str, Any]) -> PartitionSpec:
    """The mesh axes that the names map to, by the rules in the metadata or those that are set."""
    make: Any = PartitionSpec
    if names is None:
        return make()  # type: ignore[no-any-return]
    if lies_as(names) is not None:
        return _spec_in(names)
    rules = metadata.get("sharding_rules") or get_logical_axis_rules()
    check_known(names, rules)
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


OPTIMIZER_SHARDING = "optimizer_sharding"
"""The metadata key for the axis names by which a variable's optimizer state is sharded."""


def optimizer_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a variable's optimizer state, for that of the variable."""
    rest = {k: v for k, v in metadata.items() if k != OPTIMIZER_SHARDING}
    names = metadata.get(OPTIMIZER_SHARDING)
    return rest if names is None else {**rest, "out_sharding": names}


_eager: ContextVar[bool | None] = ContextVar("eager_sharding", default=None)


def using_eager_sharding() -> bool:
    """Whether variables that name their axes are laid out over the mesh when they are created."""
    value = _eager.get()
    return config.flax_always_shard_variable if value is None else value


class use_eager_sharding:
    """Sets whether variables that name their axes are laid out over the mesh on creation.

    A plain call applies from then on; a `with` block limits it to the block.
    """

    def __init__(self, value: bool, /) -> None:
        self._before = _eager.get()
        _eager.set(value)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        _eager.set(self._before)


# The optimizer's part of a stacked variable is stacked, too.
_WITH_AXES = (*_SPELLINGS, OPTIMIZER_SHARDING)

PARTITION_NAME = "partition_name"
"""The key of `transform_metadata` for the name of the axis."""


def add_axis_name(variable: Variable[Any], axis: int, name: str | None) -> None:
    """Adds the name of a new axis to a variable's metadata, and runs its hooks."""
    for key in _WITH_AXES:
        names = variable._metadata.get(key)
        if names is not None:
            entries = listed(names)
            while len(entries) < (axis if axis >= 0 else 0):
                entries.append(None)
            position = axis if axis >= 0 else len(entries) + 1 + axis
            entries.insert(position, _as_in(names, name))
            variable.set_metadata(key, like(names, entries))
    variable.add_axis(axis, name)


def remove_axis_name(variable: Variable[Any], axis: int, name: str | None) -> None:
    """Removes the name of a dropped axis from a variable's metadata, and runs its hooks."""
    for key in _WITH_AXES:
        names = variable._metadata.get(key)
        entries = [] if names is None else listed(names)
        if not entries:
            continue
        found = entries[axis] if -len(entries) <= axis < len(entries) else None
        if found != _as_in(names, name):
            raise ArgumentError(
                f"Expected axis {name!r} at index {axis} of the variable's {key} {tuple(entries)},"
                f" found {found!r}.",
                hint="transform_metadata names the axis that the transform removes.",
            )
        del entries[axis]
        variable.set_metadata(key, like(names, entries))
    variable.remove_axis(axis, name)


def listed(names: Any) -> list[Any]:
    """The list of entries, one for each axis."""
    return list(names if lies_as(names) is None else _spec_in(names))


def _as_in(names: object, name: str | None) -> str | None:
    # A sharding can only use the axes of its mesh: an axis of another name is not split.
    whole = lies_as(names)
    if whole is None:
        return name
    return name if name in getattr(_sharding_in(whole).mesh, "axis_names", ()) else None


def _sharding_in(whole: object) -> Any:
    return getattr(whole, "sharding", whole)


def like(names: object, entries: list[Any]) -> tuple[Any, ...] | PartitionSpec | NamedSharding:
    """Entries for the axes, in the same form as `names`."""
    spec: Any = PartitionSpec
    whole = lies_as(names)
    if whole is None:
        return spec(*entries) if isinstance(names, spec) else tuple(entries)
    # The memory order of a Format is dropped: it was for a different number of axes.
    old = _sharding_in(whole)
    return NamedSharding(old.mesh, spec(*entries), memory_kind=old.memory_kind)
