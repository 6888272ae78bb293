"""Maps the logical axis names of a model to the axes of a mesh.

A model names its axes by their meaning ("embed", "heads"); a program's rules say which mesh axes
they are split over, so one model runs on any mesh. Rules are tried in order, and each array uses a
mesh axis at most once: a rule whose mesh axis is taken is skipped, and a later rule for the same
name may apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ...axis_rules import UNASSIGNED as UNASSIGNED
from ...axis_rules import assign_mesh_axes as assign_mesh_axes
from ...axis_rules import check_names as check_names
from ...axis_rules import check_rules as check_rules
from ...axis_rules import get_logical_axis_rules as get_logical_axis_rules
from ...axis_rules import logical_axis_rules as logical_axis_rules
from ...axis_rules import set_logical_axis_rules as set_logical_axis_rules
from ...typing import LogicalRules, PyTree
from .mesh import named_sharding, spec_of


def logical_to_mesh_axes(
    array_dim_names: Sequence[str | None] | PartitionSpec | None, rules: LogicalRules | None = None
) -> PartitionSpec | None:
    """The mesh axes that an array with these logical axes is split over.

    >>> rules = [("batch", "data"), ("heads", "model"), ("mlp", "model"), ("embed", None)]
    >>> tuple(logical_to_mesh_axes(("batch", "embed", "mlp"), rules))
    ('data', None, 'model')

    Args:
      array_dim_names: the logical name of each axis, or None.
      rules: the rules; by default, those that are set.

    Returns:
      The mesh axis for each axis; None for a name that has no rule, or whose mesh axes are
      taken by other names. None if `array_dim_names` is None.

    Raises:
      ArgumentError: a name occurs twice, or a rule is not a pair of a name and mesh axes.
      ArgumentTypeError: `array_dim_names` is not a sequence of strings and None.
    """
    if array_dim_names is None:
        return None
    rules = get_logical_axis_rules() if rules is None else rules
    axes = assign_mesh_axes(array_dim_names, rules or ())
    return spec_of(None if axis is UNASSIGNED else axis for axis in axes)


def logical_to_mesh(tree: PyTree, rules: LogicalRules | None = None) -> Any:
    """`logical_to_mesh_axes` of every `PartitionSpec` of logical names in `tree`.

    Args:
      tree: as `get_partition_spec` returns it; a `NamedSharding` in it stays as it is.
      rules: the rules; by default, those that are set.
    """

    def mesh_axes(spec: PartitionSpec | NamedSharding | None) -> object:
        return spec if isinstance(spec, NamedSharding) else logical_to_mesh_axes(spec, rules)

    return jax.tree.map(mesh_axes, tree, is_leaf=_is_spec_or_none)


def logical_to_mesh_sharding(tree: PyTree, mesh: Mesh, rules: LogicalRules | None = None) -> Any:
    """The sharding on `mesh` for every `PartitionSpec` of logical names in `tree`.

    Args:
      tree: as `get_partition_spec` returns it.
      mesh: the mesh whose axes the rules name.
      rules: the rules; by default, those that are set.

    Returns:
      The same tree, ready for `out_shardings` of `jax.jit`; None stays None.

    Raises:
      ArgumentError: the mesh lacks an axis that a rule names.
    """

    def sharding(spec: PartitionSpec | NamedSharding | None) -> NamedSharding | None:
        if spec is None or isinstance(spec, NamedSharding):
            return spec
        return named_sharding(mesh, spec)

    return jax.tree.map(sharding, logical_to_mesh(tree, rules), is_leaf=_is_spec_or_none)


def _is_spec_or_none(x: object) -> bool:
    return x is None or isinstance(x, PartitionSpec)
