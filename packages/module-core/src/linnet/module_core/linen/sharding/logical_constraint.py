"""Layout constraints in terms of logical axes.

They are part of the model and take effect when rules and a mesh are set.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ...errors import ArgumentError
from ...typing import LogicalRules
from .logical_axes import UNASSIGNED, assign_mesh_axes, get_logical_axis_rules
from .mesh import constrain, spec_of

A = TypeVar("A")  # an array, or a tree of them


class RulesFallback(enum.Enum):
    """How to handle a logical name that no rule maps to a mesh axis."""

    AXIS_IS_UNSHARDED = "axis_is_unsharded"
    """The axis is not split."""

    RAISE_ERROR = "raise_error"
    """An error is raised."""

    NO_CONSTRAINT = "no_constraint"
    """The whole array is left as it is."""


def with_logical_constraint(
    x: A,
    logical_axis_resources: object,
    rules: LogicalRules | None = None,
    mesh: Mesh | None = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
) -> A:
    """Constrains the layout of arrays; without rules or a mesh it leaves them as they are.

    Args:
      x: an array, or a tree of them.
      logical_axis_resources: the logical names of the axes of `x`, as a tuple or `PartitionSpec`;
        for a tree, a tree of these (or a prefix of one), in which None means an array that is not
        split. None alone leaves `x` as it is.
      rules: the rules; by default, those that are set.
      mesh: the mesh; by default, the one that is set (`jax.set_mesh`).
      fallback: how to handle names without a rule.

    Returns:
      `x`, constrained.

    Raises:
      ArgumentError: a name has no rule and `fallback` is `RAISE_ERROR`; a name occurs twice; the
        mesh lacks an axis that a rule names; or an array has fewer axes than names.
    """
    rules = get_logical_axis_rules() if rules is None else rules
    if not rules or logical_axis_resources is None:
        return x

    def apply(names: Any, part: object) -> object:
        if isinstance(names, NamedSharding):  # the layout itself
            return jax.lax.with_sharding_constraint(part, names)  # type: ignore[no-untyped-call]
        axes = assign_mesh_axes(() if names is None else names, rules)
        if UNASSIGNED in axes:
            if fallback is RulesFallback.NO_CONSTRAINT:
                return part
            if fallback is RulesFallback.RAISE_ERROR:
                without = [n for n, a in zip(names, axes, strict=True) if a is UNASSIGNED]
                raise ArgumentError(
                    f"Axis names {tuple(names)} did not match a rule: {', '.join(without)}.",
                    hint=(
                        f"Add a rule, such as ({without[0]!r}, None), which leaves the axis "
                        f"unsplit. The rules are {list(rules)}; each array uses a mesh axis at "
                        "most once."
                    ),
                )
            axes = [None if axis is UNASSIGNED else axis for axis in axes]
        return constrain(part, spec_of(axes), mesh)

    constrained: A = jax.tree.map(apply, logical_axis_resources, x, is_leaf=is_names)
    return constrained


def is_names(x: object) -> bool:
    """Whether `x` is a sequence of logical names for the axes of one array."""
    if isinstance(x, tuple):
        free = PartitionSpec.UNCONSTRAINED
        return all(n is None or n is free or isinstance(n, str) for n in x)
    return x is None or isinstance(x, PartitionSpec)
