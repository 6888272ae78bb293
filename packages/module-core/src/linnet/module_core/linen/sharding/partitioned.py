"""A box for arrays with the names of the mesh axes that their axes are split over.

A box holds the value and one name for each of its axes. A transform that adds an axis to the value
adds a name to the box; a module that reads the value gets it constrained to the box's layout; code
that lays out parameters before they exist reads the names from the boxes that `jax.eval_shape`
returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Self, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from linnet.struct import PyTreeNode, field

from ...boxes import AxisMetadata, is_axis_metadata, keeps_value
from ...draws import draws_of, fills_of
from ...errors import ArgumentError, ArgumentTypeError, PartitioningUnspecifiedError
from ...forgotten_mesh import may_be_forgotten, notice
from ...typing import LogicalNames
from .mesh import constrain, get_global_mesh, named_sharding, spec_of

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

PARTITION_NAME = "partition_name"
"""The key in `metadata_params` under which a transform names the axis that it adds."""


class Partitioned(PyTreeNode, AxisMetadata[A]):
    """A value with the names of the mesh axes that its axes are split over.

    Attributes:
      value: the array.
      names: for each axis, a mesh axis, a tuple of several, or None if it is not split. Axes after
        the last name are not split. A `NamedSharding` provides names and mesh.
      mesh: the mesh, or None for the one that is set where the value is used (`jax.set_mesh`).

    Raises:
      ArgumentTypeError: `names` is a string.

    >>> import jax.numpy as jnp
    >>> box = Partitioned(jnp.zeros((4, 8)), names=("data", None))
    >>> tuple(box.get_partition_spec())
    ('data', None)
    >>> box.add_axis(0, {PARTITION_NAME: "layers"}).names
    ('layers', 'data', None)
    """

    value: A
    names: LogicalNames = field(pytree_node=False)
    mesh: Mesh | None = field(pytree_node=False, default=None)

    def __post_init__(self) -> None:
        # Names are part of a pytree's structure, which has to be hashable.
        if isinstance(self.names, list):
            object.__setattr__(self, "names", tuple(self.names))
        elif isinstance(self.names, NamedSharding):
            sharding = self.names
            object.__setattr__(self, "names", tuple(sharding.spec))
            if self.mesh is None:
                object.__setattr__(self, "mesh", sharding.mesh)
        elif isinstance(self.names, str):
            raise ArgumentTypeError(
                f"{type(self).__name__}: names must be a tuple, got the string {self.names!r}.",
                hint=f"For an array with one axis, write ({self.names!r},).",
            )

    def unbox(self, apply_constraint: bool = True) -> A:
        """The value, laid out according to the names if there is a mesh.

        Args:
          apply_constraint: whether to constrain the layout; False returns the stored value.
        """
        if not apply_constraint:
            return self.value
        self._notice_mesh()
        return constrain(self.value, self.get_partition_spec(), self.mesh)

    def _notice_mesh(self) -> None:
        """Warns once per program if the names have no mesh and the value is not sharded."""
        if self.mesh is None and get_global_mesh() is None and may_be_forgotten():
            name = type(self).__name__
            shape = getattr(self.value, "shape", ())
            notice(self.value, lambda: f"A {name} of shape {shape}", self._mesh_axes)

    def _mesh_axes(self) -> PartitionSpec:
        """The mesh axes that the value is split over."""
        return self.get_partition_spec()

    def _contents(self) -> object:
        return self.value

    def replace_boxed(self, val: object) -> Self:
        """The same names around another value."""
        return self.replace(value=val)

    @keeps_value
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> Self:
        """The box for a value that has a new axis at `index`, named by `params[PARTITION_NAME]`.

        Raises:
          PartitioningUnspecifiedError: `params` has no such key.
        """
        name = self._partition_name(params)
        names = list(self.names or ())
        if index < 0:
            index += len(names) + 1
        names += [None] * (index - len(names))
        names.insert(index, name)
        return self.replace(names=tuple(names))

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> Self:
        """The box for a value without the axis at `index`, which `params[PARTITION_NAME]` names.

        Raises:
          PartitioningUnspecifiedError: `params` has no such key.
          ArgumentError: the axis has a different name.
        """
        name = self._partition_name(params)
        names = list(self.names or ())
        if index < 0:
            index += len(names)
        names += [None] * (index + 1 - len(names))
        if names[index] != name:
            raise ArgumentError(
                f"{type(self).__name__}: a transform over the axis {name!r} maps over axis "
                f"{index} of a value with the names {self.names}, but that axis is named "
                f"{names[index]!r}.",
                hint=(
                    "Are variable_axes and metadata_params the ones that the variables were "
                    "created with?"
                ),
            )
        del names[index]
        return self.replace(names=tuple(names))

    def _partition_name(self, params: Mapping[Any, Any]) -> str | None:
        if PARTITION_NAME not in params:
            raise PartitioningUnspecifiedError(
                f"Trying to transform a {type(self).__name__} variable with the names {self.names} "
                f'but "{PARTITION_NAME}" is not specified in metadata_params.',
                hint="Name the axis that vmap or scan adds: "
                'metadata_params={nn.PARTITION_NAME: "layers"}, or None if it is not split.',
            )
        name: str | None = params[PARTITION_NAME]
        return name

    def get_partition_spec(self) -> PartitionSpec:
        """The names as a `PartitionSpec`."""
        return spec_of(self.names or ())

    def get_sharding(self, mesh: Mesh) -> Sharding:
        """The sharding on `mesh` that the names describe.

        Raises:
          ArgumentError: the mesh lacks an axis of the names.
        """
        return named_sharding(mesh, self.get_partition_spec())

    def to_nnx_metadata(self) -> dict[str, Any]:
        """The fields as the metadata of a variable with state, `value` included."""
        return {"value": self.value, "mesh": self.mesh, "out_sharding": self.names}

    @classmethod
    def from_nnx_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """The box for the metadata of a variable with state, `value` included.

        Raises:
          ArgumentError: there is no `out_sharding`.
        """
        return cls(
            value=metadata["value"], names=_out_sharding(metadata), mesh=metadata.get("mesh")
        )


def _out_sharding(metadata: Mapping[str, Any]) -> LogicalNames:
    if "out_sharding" not in metadata:
        raise ArgumentError(
            f"The metadata has no 'out_sharding', only {sorted(metadata)}.",
            hint="A variable without axis names needs no box.",
        )
    names: LogicalNames = metadata["out_sharding"]
    return names


def with_partitioning(
    fn: Callable[P, A], names: LogicalNames, mesh: Mesh | None = None
) -> Callable[P, Partitioned[A]]:
    """An initializer whose values are in a `Partitioned` box.

    >>> import jax, jax.numpy as jnp
    >>> init = with_partitioning(jax.nn.initializers.ones, (None, "model"))
    >>> init(jax.random.key(0), (2, 4)).names
    (None, 'model')

    Args:
      fn: an initializer, or any function that returns an array.
      names, mesh: attributes of the box.

    Raises:
      ArgumentTypeError: `names` is a string.
    """
    return boxed(fn, lambda value: Partitioned(value, names, mesh))


def boxed(fn: Callable[P, A], box: Callable[[Any], B]) -> Callable[P, B]:
    """Wraps `fn` so that its results are in boxes."""
    box(None)  # raises the error for invalid names here, where they are written

    def wrapper(*args: P.args, **kwargs: P.kwargs) -> B:
        return box(fn(*args, **kwargs))

    # An initializer may be an object without `__name__`; its type is then still readable.
    wrapper.__name__ = getattr(fn, "__name__", type(fn).__name__)
    wrapper.__doc__ = fn.__doc__
    # An initializer that ignores its key still does so in a box.
    wrapper.ignores_key = getattr(fn, "ignores_key", False)  # type: ignore[attr-defined]
    # Its draws can be grouped with others, in a box or not (`draws`).
    wrapper.draws = draws_of(fn)  # type: ignore[attr-defined]
    wrapper.fills = fills_of(fn)  # type: ignore[attr-defined]
    return wrapper


def get_partition_spec(tree: object) -> Any:
    """The `PartitionSpec` of each variable in `tree`: a box's names, or an empty one for an array.

    >>> import jax.numpy as jnp
    >>> tree = {"kernel": Partitioned(jnp.zeros((2, 3)), (None, "model")), "bias": jnp.zeros(3)}
    >>> specs = get_partition_spec(tree)
    >>> tuple(specs["kernel"]), tuple(specs["bias"])
    ((None, 'model'), ())

    Args:
      tree: a tree of variables, or of their shapes (`jax.eval_shape`).

    Returns:
      The same tree, with None for leaves that are neither a box nor an array.
    """

    def spec(leaf: object) -> PartitionSpec | None:
        own: Callable[[], PartitionSpec] | None = getattr(leaf, "get_partition_spec", None)
        if own is not None and is_axis_metadata(leaf):  # nnx has its own boxes
            return own()
        return spec_of(()) if is_array(leaf) else None

    return jax.tree.map(spec, tree, is_leaf=is_axis_metadata)


def get_sharding(tree: object, mesh: Mesh) -> Any:
    """The sharding of each variable in `tree` on `mesh`, ready for `out_shardings` of `jax.jit`.

    Args:
      tree: a tree of variables, or of their shapes (`jax.eval_shape`).
      mesh: the mesh whose axes the boxes name.

    Returns:
      The same tree, with None for leaves that are neither a box nor an array.

    Raises:
      ArgumentError: the mesh lacks an axis of a box.
    """

    def sharding(leaf: object) -> Sharding | None:
        if isinstance(leaf, Partitioned):
            return leaf.get_sharding(mesh)
        return named_sharding(mesh, spec_of(())) if is_array(leaf) else None

    return jax.tree.map(sharding, tree, is_leaf=is_axis_metadata)


def is_array(leaf: object) -> bool:
    """Whether `leaf` is an array, or the shape of one."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
