"""Shards the variables of a model: axis names on creation, and layouts for `jax.jit`.

    init = nnx.with_partitioning(nnx.initializers.lecun_normal(), ("embed", "mlp"))
    with jax.set_mesh(mesh), nnx.logical_axis_rules([("mlp", "model")]):
        layer = nnx.Linear(64, 256, kernel_init=init, rngs=nnx.Rngs(0))   # laid out as it is made

Axis names are metadata of a variable. Its value is laid out according to them when the variable is
created, if there is a mesh: the one in the metadata, or the one that is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..axis_rules import get_logical_axis_rules as get_logical_axis_rules
from ..axis_rules import logical_axis_rules as logical_axis_rules
from ..axis_rules import set_logical_axis_rules as set_logical_axis_rules
from .nodes.pytree import Pytree
from .structure.graph import flat_leaves, with_leaves
from .variable.sharding_metadata import PARTITION_NAME as PARTITION_NAME
from .variable.sharding_metadata import add_axis_name, remove_axis_name, spec_of
from .variable.sharding_metadata import use_eager_sharding as use_eager_sharding
from .variable.sharding_metadata import using_eager_sharding as using_eager_sharding
from .variable.variable import Variable
from .variable.variable_metadata import with_metadata

A = TypeVar("A")
F = TypeVar("F")


def with_partitioning(
    initializer: F,
    sharding: tuple[str | tuple[str, ...] | None, ...],
    mesh: Mesh | None = None,
    **metadata: Any,
) -> F:
    """An initializer that also gives the variable the names of its axes.

    Args:
      initializer: called with the arguments of the layer, `(key, shape, dtype)`.
      sharding: a name, tuple of names or None for each axis.
      mesh: the mesh to lay the value out on; None for the mesh that is set.
      **metadata: additional metadata of the variable, such as `sharding_rules`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> init = with_partitioning(jax.nn.initializers.zeros, ("embed", None))
    >>> nnx.Param(init(jax.random.key(0), (2, 3), jnp.float32)).sharding_names
    ('embed', None)
    """
    return with_metadata(initializer, out_sharding=sharding, mesh=mesh, **metadata)  # type: ignore[type-var]


def get_var_pspec(variable: Variable[Any]) -> PartitionSpec:
    """The `PartitionSpec` of one variable."""
    return spec_of(variable)


def get_partition_spec(tree: A) -> A:
    """A state or module with a `PartitionSpec` in place of each value.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> state = nnx.State({"w": nnx.Param(jnp.ones((2, 2)), out_sharding=("data", None))})
    >>> tuple(get_partition_spec(state).w.raw_value)
    ('data', None)
    """
    whole: Any = PartitionSpec()  # type: ignore[no-untyped-call]
    return with_leaves(tree, lambda v: spec_of(v) if isinstance(v, Variable) else whole)


def get_named_sharding(tree: A, mesh: Mesh) -> A:
    """A state or module with a `NamedSharding` on `mesh` in place of each value."""
    whole: Any = PartitionSpec()  # type: ignore[no-untyped-call]
    return with_leaves(
        tree,
        lambda v: NamedSharding(mesh, spec_of(v) if isinstance(v, Variable) else whole),
    )


def add_axis(tree: A, index: int, transform_metadata: Mapping[str, Any]) -> A:
    """Updates the axis names of variables after their values gained an axis at `index`.

    Args:
      tree: a state or module; changed in place, and returned.
      index: index of the new axis.
      transform_metadata: holds the name of the axis under `PARTITION_NAME`.
    """
    for variable in _variables(tree):
        add_axis_name(variable, index, transform_metadata.get(PARTITION_NAME))
    return tree


def remove_axis(tree: A, index: int, transform_metadata: Mapping[str, Any]) -> A:
    """Updates the axis names of variables after their values lost the axis at `index`.

    Args:
      tree: a state or module; changed in place, and returned.
      index: index of the removed axis.
      transform_metadata: holds the name of the axis under `PARTITION_NAME`.

    Raises:
      ArgumentError: the axis at `index` has a different name.
    """
    for variable in _variables(tree):
        remove_axis_name(variable, index, transform_metadata.get(PARTITION_NAME))
    return tree


def _variables(tree: object) -> list[Variable[Any]]:
    leaves = (
        flat_leaves(tree)[1]
        if isinstance(tree, Pytree)
        else jax.tree_util.tree_leaves(tree, is_leaf=lambda x: isinstance(x, Variable))
    )
    return [x for x in leaves if isinstance(x, Variable)]
