"""Converts nnx variables to boxed linen values and back.

In linen, the kind of a value is its collection, and a box around the value holds its metadata. In
nnx, the kind is the variable's class, and the variable has the metadata. Registered names
(`nnx.register_variable_name`) map classes to collections. A variable without metadata needs no
box. Other metadata goes into an `NNXMeta`, or into the linen box that it came from, whose class is
stored in the metadata as `linen_meta_type`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from jax.sharding import Mesh, PartitionSpec

from linnet.struct import PyTreeNode, field

from ..boxes import AxisMetadata, keeps_value
from ..errors import ArgumentError
from ..linen.sharding.partitioned import PARTITION_NAME, Partitioned
from ..nnx.structure.states import from_flat_state, path_text, to_flat_state
from ..nnx.variable.sharding_metadata import like, listed, spec_of
from ..nnx.variable.variable import Variable, new_variable
from ..nnx.variable.variable_metadata import with_metadata
from ..nnx.variable.variable_types import RngState, variable_name_from_type, variable_type_from_name

A = TypeVar("A")
BOX_TYPE = "linen_meta_type"
_NAMES = ("out_sharding", "sharding", "sharding_names")


class NNXMeta(PyTreeNode, AxisMetadata[A]):
    """A linen box that holds the contents of an nnx variable.

    Attributes:
      var_type: the variable's class.
      value: its value.
      metadata: its metadata.
    """

    var_type: type[Variable[Any]] = field(pytree_node=False)
    value: Any = field()
    metadata: dict[str, Any] = field(pytree_node=False)

    def unbox(self) -> Any:
        """The value."""
        return self.value

    def replace_boxed(self, val: object) -> NNXMeta[Any]:
        """A copy of the box with a different value."""
        return self.replace(value=val)

    @keeps_value
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> NNXMeta[A]:
        """The box after its value gained an axis at `index`, named `params[PARTITION_NAME]`."""
        return self._with_names(lambda names: names.insert(index, params.get(PARTITION_NAME)))

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> NNXMeta[A]:
        """The box after its value lost the axis at `index`."""
        return self._with_names(lambda names: names.pop(index))

    def _with_names(self, edit: Callable[[list[Any]], Any]) -> NNXMeta[A]:
        metadata = dict(self.metadata)
        for key in _NAMES:
            if metadata.get(key) is not None:
                names = listed(metadata[key])
                edit(names)
                metadata[key] = like(metadata[key], names)
        return self.replace(metadata=metadata)

    def get_partition_spec(self) -> PartitionSpec:
        """The names of the value's axes, as a `PartitionSpec`."""
        return spec_of(new_variable(self.var_type, None, self.metadata))

    def to_nnx_variable(self) -> Variable[Any]:
        """Converts the box to a variable."""
        return self.var_type.from_metadata(self.value, self.metadata)


def to_linen_var(vs: Variable[Any]) -> AxisMetadata[Any]:
    """Converts a variable to the linen box that it came from, or to an `NNXMeta`."""
    metadata = vs.get_metadata()
    box = metadata.pop(BOX_TYPE, None)
    if box is None:
        return NNXMeta(var_type=type(vs), value=vs.raw_value, metadata=metadata)
    for key in _NAMES[1:]:
        if key in metadata:
            metadata["out_sharding"] = metadata.pop(key)
    if hasattr(box, "from_nnx_metadata"):
        boxed: AxisMetadata[Any] = box.from_nnx_metadata({**metadata, "value": vs.raw_value})
        return boxed
    fields = {f.name for f in dataclasses.fields(box)}
    if "names" in fields and "out_sharding" in metadata:
        metadata["names"] = metadata.pop("out_sharding")
    made: AxisMetadata[Any] = box(
        value=vs.raw_value, **{k: v for k, v in metadata.items() if k in fields}
    )
    return made


def to_nnx_var(col: str, x: object) -> Variable[Any]:
    """Converts a value in a collection, boxed or not, to a variable.

    Args:
      col: the collection; if it has no class yet, a class of its name is created.
      x: the value.
    """
    cls = variable_type_from_name(col, allow_register=True)
    if isinstance(x, NNXMeta):
        return x.to_nnx_variable()
    if isinstance(x, AxisMetadata):
        if hasattr(x, "to_nnx_metadata"):
            metadata = dict(x.to_nnx_metadata())
            value = metadata.pop("value")
            return cls.from_metadata(value, {**metadata, BOX_TYPE: type(x)})
        if not dataclasses.is_dataclass(x) or not hasattr(x, "value"):
            raise ArgumentError(
                f"A box of type {type(x).__name__} can't become metadata of a variable.",
                hint="Make the box a dataclass with a field `value` (for example, a PyTreeNode).",
            )
        metadata = {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if f.name != "value"}
        if "names" in metadata:
            metadata["out_sharding"] = metadata.pop("names")
        metadata[BOX_TYPE] = type(x)
        return cls.from_metadata(x.value, metadata)
    return cls.from_metadata(x, {})


def is_vanilla_variable(vs: Variable[Any]) -> bool:
    """Whether a variable has no metadata, so its collection describes it completely."""
    return not any(v is not None for v in vs.get_metadata().values())


def get_col_name(keypath: Sequence[Any]) -> str:
    """The collection at the start of a path in linen's variables."""
    return str(getattr(keypath[0], "key", keypath[0]))


def sort_variable_types(types: Iterable[type[Variable[Any]]]) -> list[type[Variable[Any]]]:
    """Sorts classes of variables so that each comes before its base classes."""
    return sorted(types, key=lambda t: (-len(t.__mro__), t.__name__))


def collection_of(variable: Variable[Any]) -> str:
    """The name of a variable's collection."""
    return variable_name_from_type(type(variable), allow_register=True)


def linen_vars_to_nnx_attrs(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Converts collections of values to a nested dict of variables.

    Raises:
      ArgumentError: two collections have a value at the same path.
    """
    merged: dict[tuple[Any, ...], Variable[Any]] = {}
    for col, tree in variables.items():
        for path, x in _flat(tree):
            if path in merged:
                raise ArgumentError(
                    f"The collections {collection_of(merged[path])!r} and {col!r} both have "
                    f"{path_text(path)!r}; in nnx, both would be the same attribute.",
                    hint="Rename one of them in the linen module.",
                )
            merged[path] = to_nnx_var(col, x)
    nested: dict[str, Any] = from_flat_state(merged).raw_mapping
    return nested


def nnx_attrs_to_linen_vars(
    nnx_attrs: Mapping[Any, Any],
    metadata_fn: Callable[[Variable[Any]], Any] | None = to_linen_var,
) -> dict[str, Any]:
    """Converts nested variables (or a state) to collections, without random streams.

    Args:
      nnx_attrs: nested dicts of variables.
      metadata_fn: boxes a variable that has metadata; None stores its bare value.
    """
    flat: dict[tuple[Any, ...], Any] = {}
    for path, variable in to_flat_state(nnx_attrs):
        if not isinstance(variable, Variable) or isinstance(variable, RngState):
            continue
        bare = metadata_fn is None or is_vanilla_variable(variable)
        flat[(collection_of(variable), *path)] = (
            variable.raw_value if bare or metadata_fn is None else metadata_fn(variable)
        )
    nested: dict[str, Any] = from_flat_state(flat).raw_mapping
    return nested


def _flat(tree: object) -> list[tuple[tuple[Any, ...], Any]]:
    if not isinstance(tree, Mapping):
        return [((), tree)]
    return [((k, *path), x) for k, value in tree.items() for path, x in _flat(value)]


def with_partitioning(
    fn: Callable[..., Any], names: tuple[str | None, ...], mesh: Mesh | None = None
) -> Callable[..., Any]:
    """An initializer whose result is `Partitioned` in linen and has `out_sharding` in nnx.

    Args:
      fn: the initializer.
      names: a mesh axis, or None, for each axis of the result.
      mesh: the mesh, or None for the one that is set.
    """
    return with_metadata(fn, out_sharding=names, mesh=mesh, linen_meta_type=Partitioned)
