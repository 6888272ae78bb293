"""A box for arrays with logical axis names.

`LogicallyPartitioned` is a `Partitioned` box whose names are logical; the rules and the mesh come
from the program that uses the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Self, TypeVar

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet.struct import field

from ...errors import ArgumentTypeError
from ...typing import LogicalNames, LogicalRules
from .logical_axes import check_rules, get_logical_axis_rules, logical_to_mesh_axes
from .logical_constraint import with_logical_constraint
from .mesh import spec_of
from .partitioned import Partitioned, boxed

A = TypeVar("A")
P = ParamSpec("P")


class LogicallyPartitioned(Partitioned[A]):
    """A value with the logical names of its axes.

    Attributes:
      value, names, mesh: as in `Partitioned`; each name is a logical one.
      rules: map logical names to mesh axes; None for the rules that are set where the value is
        used.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> box = LogicallyPartitioned(jnp.zeros((4, 8)), ("embed", "mlp"))
    >>> tuple(nn.logical_to_mesh(nn.get_partition_spec(box), [("mlp", "model")]))
    (None, 'model')
    """

    rules: LogicalRules | None = field(pytree_node=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.names, NamedSharding):
            raise ArgumentTypeError(
                f"{type(self).__name__}: names must be logical axis names, got {self.names!r:.60}.",
                hint=(
                    "Only with_partitioning takes a NamedSharding, which places the value on "
                    'devices. Name the axes here: ("embed", "mlp").'
                ),
            )
        super().__post_init__()
        check_rules(self.rules)
        if isinstance(self.rules, list):
            object.__setattr__(self, "rules", tuple(map(tuple, self.rules)))

    def unbox(self, apply_constraint: bool = True) -> A:
        """The value, laid out according to rules and names if there is a mesh.

        Args:
          apply_constraint: whether to constrain the layout; False returns the stored value.
        """
        if not apply_constraint or self.names is None:
            return self.value
        self._notice_mesh()
        return with_logical_constraint(
            self.value, spec_of(self.names), rules=self.rules, mesh=self.mesh
        )

    def _mesh_axes(self) -> PartitionSpec:
        rules = get_logical_axis_rules() if self.rules is None else self.rules
        # Without rules, it isn't known which mesh axes the logical names map to.
        return (logical_to_mesh_axes(self.names, rules) if rules else None) or spec_of(())

    def to_nnx_metadata(self) -> dict[str, Any]:
        """The fields as the metadata of a variable with state, `value` included."""
        return {**super().to_nnx_metadata(), "sharding_rules": self.rules}

    @classmethod
    def from_nnx_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """The box for the metadata of a variable with state, `value` included.

        Raises:
          ArgumentError: there is no `out_sharding`.
        """
        return super().from_nnx_metadata(metadata).replace(rules=metadata.get("sharding_rules"))


def with_logical_partitioning(
    fn: Callable[P, A],
    names: LogicalNames,
    mesh: Mesh | None = None,
    rules: LogicalRules | None = None,
) -> Callable[P, LogicallyPartitioned[A]]:
    """An initializer whose values are in a `LogicallyPartitioned` box.

    >>> import jax
    >>> init = with_logical_partitioning(jax.nn.initializers.ones, ("embed", "mlp"))
    >>> init(jax.random.key(0), (2, 4)).names
    ('embed', 'mlp')

    Args:
      fn: an initializer, or any function that returns an array.
      names, mesh, rules: attributes of the box.
    """
    return boxed(fn, lambda value: LogicallyPartitioned(value, names, mesh, rules))
