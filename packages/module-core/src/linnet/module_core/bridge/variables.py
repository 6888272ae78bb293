"""Variables of nnx as linen's values in boxes, and back.

In linen a value's kind is the collection that it is in, and what else is to be said of it is a box
around it. In nnx the kind is the variable's class, and the rest its metadata. Class and collection
are translated by the register of names (`nnx.register_variable_name`). Metadata of a plain variable
is nothing, and needs no box; that of others goes into an `NNXMeta`, or into the box of linen that
it came from, whose class it remembers as `linen_meta_type`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from jax.sharding import Mesh, PartitionSpec

from linnet.struct import PyTreeNode, field

from ..boxes import AxisMetadata
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
    """A linen box that holds what makes an nnx variable.

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

    def replace_boxed(self, value: object) -> NNXMeta[Any]:
        """The same class and metadata around another value."""
        return self.replace(value=value)

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> NNXMeta[A]:
        """The box for a value that has a new axis at `index`, named `params[PARTITION_NAME]`."""
        return self._with_names(lambda names: names.insert(index, params.get(PARTITION_NAME)))

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> NNXMeta[A]:
        """The box for a value that has lost the axis at `index`."""
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
        """The names of the value's axes."""
        return spec_of(new_variable(self.var_type, None, self.metadata))

    def to_nnx_variable(self) -> Variable[Any]:
        """The variable."""
        return self.var_type.from_metadata(self.value, self.metadata)


def to_linen_var(vs: Variable[Any]) -> AxisMetadata[Any]:
    """A variable as a box: that of linen which it came from, or an `NNXMeta`."""
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
    """The variable of a value, boxed or not, in a collection.

    Args:
      col: the collection; one without a class yet gets a class of its name.
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
                hint="Such a box is a dataclass with a field `value` (a PyTreeNode, say).",
            )
        metadata = {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if f.name != "value"}
        if "names" in metadata:
            metadata["out_sharding"] = metadata.pop("names")
        metadata[BOX_TYPE] = type(x)
        return cls.from_metadata(x.value, metadata)
    return cls.from_metadata(x, {})


def is_vanilla_variable(vs: Variable[Any]) -> bool:
    """Whether a variable has no metadata, so that its collection says all of it."""
    return not any(v is not None for v in vs.get_metadata().values())


def get_col_name(keypath: Sequence[Any]) -> str:
    """The collection at the start of a path in linen's variables."""
    return str(getattr(keypath[0], "key", keypath[0]))


def sort_variable_types(types: Iterable[type[Variable[Any]]]) -> list[type[Variable[Any]]]:
    """Classes of variables, each before those that it derives from."""
    return sorted(types, key=lambda t: (-len(t.__mro__), t.__name__))


def collection_of(variable: Variable[Any]) -> str:
    """The name of the collection that a variable belongs into."""
    return variable_name_from_type(type(variable), allow_register=True)


def linen_vars_to_nnx_attrs(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Collections of values as one nested dict of variables.

    Raises:
      ArgumentError: two collections have a value at the same path.
    """
    merged: dict[tuple[Any, ...], Variable[Any]] = {}
    for col, tree in variables.items():
        for path, x in _flat(tree):
            if path in merged:
                raise ArgumentError(
                    f"The collections {collection_of(merged[path])!r} and {col!r} both have"
                    f" {path_text(path)!r}; in nnx both would be that attribute.",
                    hint="Give one of them another name in the linen module.",
                )
            merged[path] = to_nnx_var(col, x)
    nested: dict[str, Any] = from_flat_state(merged).raw_mapping
    return nested


def nnx_attrs_to_linen_vars(
    nnx_attrs: Mapping[Any, Any],
    metadata_fn: Callable[[Variable[Any]], Any] | None = to_linen_var,
) -> dict[str, Any]:
    """Nested variables (or a state) as collections; random streams are left out.

    Args:
      nnx_attrs: nested dicts of variables.
      metadata_fn: boxes a variable that has metadata; None: its bare value.
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
    """An initializer whose result is `Partitioned` in linen, and has `out_sharding` in nnx.

    Args:
      fn: the initializer.
      names: for each axis of the result a mesh axis, or None.
      mesh: the mesh, or None for the one that is set.
    """
    return with_metadata(fn, out_sharding=names, mesh=mesh, linen_meta_type=Partitioned)
