"""Bundles the nnx objects among some arguments into one structure and one flat list of values.

Every transform first extracts the objects from the arguments and bundles them; a `Hole` replaces
each, so that the rest is an ordinary tree of arrays. Objects that share nothing are bundled from
their cached structures, without a walk; otherwise one walk over all of them finds what they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any, TypeVar

import jax

from ..nodes.kinds import OBJECT, REFERENCE, VARIABLE, kind_of
from ..nodes.pytree import Pytree
from ..variable.variable import Variable
from .graphdef import GraphDef
from .levels import common_level
from .snapshot import Snapshot, slot_value, snapshot_of
from .structure import Walk

T = TypeVar("T")


class Hole:
    """A placeholder for an object among the arguments; `index` is the object's root index."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


jax.tree_util.register_pytree_node(Hole, lambda h: ((), h.index), lambda index, _: Hole(index))

_NODES = (OBJECT, VARIABLE)


def is_node(x: object) -> bool:
    """Whether a value is an nnx object or a variable."""
    return kind_of(x) in _NODES


def detach_nodes(tree: object, roots: list[Any], index_of: dict[int, int]) -> Any:
    """Replaces the objects in a tree with holes; appends each object to `roots` once."""
    kind = kind_of(tree)
    if kind in _NODES:
        return _hole(tree, roots, index_of)
    if tree is None or jax.tree_util.all_leaves([tree]):
        return tree
    leaves, structure = jax.tree_util.tree_flatten(tree, is_leaf=is_node)
    if not any(map(is_node, leaves)):
        return tree
    return jax.tree_util.tree_unflatten(
        structure, [_hole(x, roots, index_of) if is_node(x) else x for x in leaves]
    )


def _hole(node: object, roots: list[Any], index_of: dict[int, int]) -> Hole:
    index = index_of.get(id(node))
    if index is None:
        index = index_of[id(node)] = len(roots)
        roots.append(node)
    return Hole(index)


def put_back(tree: T, roots: Sequence[Any]) -> T:
    """Replaces the holes in a tree with the roots."""
    if isinstance(tree, Hole):
        root: T = roots[tree.index]
        return root
    filled: T = jax.tree_util.tree_map(
        lambda x: roots[x.index] if type(x) is Hole else x, tree, is_leaf=lambda x: type(x) is Hole
    )
    return filled


class Loose:
    """Roots as found by a fresh walk, with the interface of a `Snapshot`."""

    __slots__ = ("_nodes", "_walked", "graphdef", "ids", "leaves", "slots")

    def __init__(self, roots: Sequence[Any]) -> None:
        walk = Walk(roots)
        self.graphdef = walk.graphdef
        self.leaves = [x if isinstance(x, Variable) else None for x in walk.leaves]
        self.slots = walk.slots
        self._walked = walk.leaves
        self._nodes = walk.nodes
        self.ids = frozenset(map(id, walk.nodes))

    def values(self) -> list[Any]:
        return [
            slot_value(slot, found) if leaf is None else leaf.raw_value
            for leaf, slot, found in zip(self.leaves, self.slots, self._walked, strict=True)
        ]

    def nodes(self) -> list[Any]:
        return self._nodes

    @property
    def level(self) -> object:
        return common_level(self._nodes)


class Bundle:
    """Several roots as one structure.

    Attributes:
      roots: the objects.
      graphdef: their joint structure.
      parts: the snapshots or walks that the structure was made from.
    """

    __slots__ = ("graphdef", "parts", "roots")

    def __init__(self, roots: list[Any]) -> None:
        self.roots = roots
        if len(roots) == 1 and kind_of(roots[0]) == OBJECT:
            part: Any = snapshot_of(roots[0])
            self.parts: list[Any] = [part]
            self.graphdef = part.graphdef
            return
        parts: list[Any] = []
        # Variables outside modules, such as those of a State, are walked in one pass.
        for remembered, group in groupby(roots, lambda r: isinstance(r, Pytree)):
            run = list(group)
            parts.extend(map(snapshot_of, run) if remembered else [Loose(run)])
        for i, part in enumerate(parts):
            for other in parts[:i]:
                if not _apart(part, other):
                    joint = Loose(roots)
                    self.parts = [joint]
                    self.graphdef = joint.graphdef
                    return
        self.parts = parts
        self.graphdef = join(tuple(p.graphdef for p in parts))

    def values(self) -> list[Any]:
        """The values of all leaves."""
        if len(self.parts) == 1:
            return self.parts[0].values()  # type: ignore[no-any-return]
        return list(chain.from_iterable(p.values() for p in self.parts))

    def leaves(self) -> list[Any]:
        """The variable of each leaf, or None for a raw array."""
        if len(self.parts) == 1:
            return self.parts[0].leaves  # type: ignore[no-any-return]
        return list(chain.from_iterable(p.leaves for p in self.parts))

    def slots(self) -> list[Any]:
        """The mutable owner and the key of each raw array."""
        return list(chain.from_iterable(p.slots for p in self.parts))

    def is_of_level(self, now: object) -> bool:
        """Whether all nodes belong to a trace level."""
        if len(self.parts) == 1:
            return bool(self.parts[0].level == now)
        return all(part.level == now for part in self.parts)

    def nodes(self) -> list[Any]:
        """All nodes by index."""
        return list(chain.from_iterable(p.nodes() for p in self.parts))


def _apart(a: Loose | Snapshot, b: Loose | Snapshot) -> bool:
    if isinstance(a, Loose) or isinstance(b, Loose):
        return a.ids.isdisjoint(b.ids)
    return a.is_apart_from(b)


def join(graphdefs: tuple[GraphDef, ...]) -> GraphDef:
    """The joint structure of several roots that share nothing.

    It is cached as long as the first of their structures lives.
    """
    if not graphdefs:
        return _join(graphdefs)
    remembered = graphdefs[0].joined
    found = remembered.get(graphdefs[1:])
    if found is None:
        if len(remembered) >= 64:
            remembered.clear()
        found = remembered[graphdefs[1:]] = _join(graphdefs)
    return found


def _join(graphdefs: tuple[GraphDef, ...]) -> GraphDef:
    tokens: list[Any] = []
    num_nodes = num_leaves = 0
    for graphdef in graphdefs:
        tokens.extend(
            (REFERENCE, t[1] + num_nodes) if t[0] == REFERENCE else t for t in graphdef.tokens
        )
        num_nodes += graphdef.num_nodes
        num_leaves += graphdef.num_leaves
    statics = tuple(chain.from_iterable(g.statics for g in graphdefs))
    return GraphDef(
        tuple(tokens), statics, num_leaves, num_nodes, sum(g.num_roots for g in graphdefs)
    ).interned()
