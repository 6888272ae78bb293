"""Carries whose variables a step replaces with others of the same structure.

A step usually changes the variables that it was passed, and returns them. A step written in the
functional style returns new ones: a state mapped by `jax.tree.map`, `{"w": nnx.Param(...)}`. As
long as they have the structure of the carry that came in, the next step gets their values. The
result of the loop then has new variables in the places of those that were replaced, and the
caller's variables there keep their values.

Modules are not replaced: a step that returns a module other than the one it was passed would leave
the caller's module as it was, which is rarely intended. Nor are variables replaced if the caller's
objects keep their structure (`graph=False`, `graph_updates=False`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax

from ...arrays import as_strong_as
from ..structure.bundle import detach_nodes, put_back
from ..structure.levels import refuse_other_values
from ..structure.structure import Walk, build
from ..variable.variable import Variable

T = TypeVar("T")


class Kept(NamedTuple):
    """The parts of a carry that were not replaced; static.

    Attributes:
      nodes: which of its objects' nodes are those that came in.
      leaves: which of the leaves are in one of these.
      written: which of the leaves have new values.
    """

    nodes: tuple[bool, ...]
    leaves: tuple[bool, ...]
    written: tuple[bool, ...]

    def __and__(self, other: Kept) -> Kept:
        """The parts that both steps have kept, and those that at least one has written."""
        return Kept(
            tuple([a and b for a, b in zip(self.nodes, other.nodes, strict=True)]),
            tuple([a and b for a, b in zip(self.leaves, other.leaves, strict=True)]),
            tuple([a or b for a, b in zip(self.written, other.written, strict=True)]),
        )


class Carried:
    """The objects of a carry before a step.

    Args:
      carry: the carry, with its objects.

    Attributes:
      detached: the carry, with holes numbered from 0.
      walk: the walk over its objects.
      values: the values of their leaves.
    """

    def __init__(self, carry: object) -> None:
        roots: list[Any] = []
        self.detached = detach_nodes(carry, roots, {})
        self.walk = Walk(roots)
        self.values = [_value(leaf) for leaf in self.walk.leaves]

    def replaced(self, carry: object) -> Replaced | None:
        """A step's result if it has different variables of the same structure; else None."""
        roots: list[Any] = []
        detached = detach_nodes(carry, roots, {})
        if _structure(detached) != _structure(self.detached):
            return None
        walk = Walk(roots)
        if walk.graphdef != self.walk.graphdef:
            return None
        nodes = zip(self.walk.nodes, walk.nodes, strict=True)
        if any(old is not new and not isinstance(old, Variable) for old, new in nodes):
            return None
        return Replaced(self, detached, walk)

    def after(self, carry: T, values: Sequence[Any], kept: Kept) -> T:
        """The result of a loop that began with this carry.

        Args:
          carry: the arrays of the carry after the last step, and any holes.
          values: the values of its objects' leaves after the last step.
          kept: the parts that all steps have kept.

        Raises:
          TraceContextError: a kept variable with a new value belongs to a different trace level.
        """
        values = [
            new if written else old
            for new, old, written in zip(values, self.values, kept.written, strict=True)
        ]
        kept_nodes = zip(self.walk.nodes, kept.nodes, strict=True)
        nodes = [node if is_kept else None for node, is_kept in kept_nodes]
        refuse_other_values(self.walk.graphdef, nodes, values)
        roots, _ = build(self.walk.graphdef, values, nodes.__getitem__)
        leaves = jax.tree_util.tree_leaves(carry)
        structure = jax.tree_util.tree_structure(self.detached)
        result: T = put_back(jax.tree_util.tree_unflatten(structure, leaves), roots)
        return result


class Replaced:
    """A step's result for a carry, some of whose objects are new.

    Attributes:
      detached: the new carry, with holes numbered from 0.
      values: the values of its objects' leaves.
      kept: the parts that it has in common with the carry before the step.
    """

    def __init__(self, before: Carried, detached: object, walk: Walk) -> None:
        self.detached = detached
        old, new = before.walk, [_value(leaf) for leaf in walk.leaves]
        self.values = list(map(as_strong_as, new, before.values))
        self.kept = Kept(
            tuple([a is b for a, b in zip(old.nodes, walk.nodes, strict=True)]),
            tuple(map(_is_kept, old.leaves, walk.leaves)),
            tuple([a is not b for a, b in zip(new, before.values, strict=True)]),
        )


def _value(leaf: object) -> object:
    return leaf.raw_value if isinstance(leaf, Variable) else leaf


def _is_kept(old: object, new: object) -> bool:
    return old is new or not isinstance(old, Variable)


def _structure(tree: object) -> object:
    return jax.tree_util.tree_structure(tree)
