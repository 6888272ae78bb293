"""Reads what Flax 0.12 has pickled: Flax's `GraphDef`s, and the attributes of its objects.

A pickle names classes and holds their attributes. If `linnet.flax` provides Flax's names, Python
makes objects of our classes and passes them what Flax's objects held. In Flax, a `GraphDef` is a
list of nodes in the order of a walk, and a list of their attributes in the same order: an object
with this structure is built, with a placeholder for each array, and walked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError, counted
from ..nodes.pytree import adopt, new_object
from ..variable.variable import new_variable, without_kinds
from .definitions import NodeRef, VariableDef
from .graphdef import GraphDef
from .structure import Walk

_PLACEHOLDER = np.zeros(())


class IndexesPytreeDef(tuple[Any, ...]):
    """The structure of a jax pytree, and where each key is among its children."""

    __slots__ = ()

    def __new__(cls, key_index: object, treedef: object) -> IndexesPytreeDef:
        """Makes a pair of the arguments."""
        return super().__new__(cls, (key_index, treedef))


class Value:
    """A static attribute: one that isn't data."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __setstate__(self, state: Sequence[Any]) -> None:
        (self.value,) = state


class NodeAttribute:
    """An attribute that has a node of its own."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Discards the state."""


class LeafAttribute(NodeAttribute):
    """An attribute that is an array."""

    __slots__ = ()


def graphdef_of(state: Sequence[Any]) -> GraphDef:
    """The structure that Flax has pickled as (nodes, attributes, number of leaves).

    Every leaf is treated as an array: the pickle doesn't say whether a Python number was marked as
    data.

    Raises:
      ArgumentError: the structure is part of a transform's bookkeeping.
    """
    nodes, attributes, leaves = state
    reader = _Reader(nodes, attributes)
    made: GraphDef = Walk([reader.node()]).graphdef
    if made.num_leaves != leaves:
        raise ArgumentError(
            f"A GraphDef that Flax pickled has {counted(leaves, 'leaf', 'leaves')}, but the number"
            f" recognized is {made.num_leaves}.",
            hint="With Flax, pickle nnx.to_pure_dict(nnx.state(module)); here, create the module"
            " and use nnx.replace_by_pure_dict.",
        )
    return made


class _Reader:
    """Builds objects from nodes and attributes, each read once, in order."""

    def __init__(self, nodes: Sequence[Any], attributes: Sequence[Any]) -> None:
        self.nodes: Iterator[Any] = iter(nodes)
        self.attributes: Iterator[Any] = iter(attributes)
        self.made: dict[int, Any] = {}

    def node(self) -> Any:
        """The object, variable or container that the next node describes."""
        node = next(self.nodes)
        if isinstance(node, NodeRef):
            return self.made[node.index]
        if getattr(node, "outer_index", None) is not None:
            raise ArgumentError(
                "A GraphDef that Flax pickled within a transform refers to objects outside.",
                hint="Pickle the result of nnx.split or nnx.graphdef.",
            )
        if isinstance(node, VariableDef):
            made = new_variable(node.type, _PLACEHOLDER, without_kinds(node.metadata))
            self.made[node.index] = made
            return made
        if isinstance(node.metadata, IndexesPytreeDef):
            index, treedef = node.metadata
            children = dict(self._items(node.num_attributes))
            return treedef.unflatten([children[key] for key in sorted(index, key=index.get)])
        if node.type is type(None):
            return None
        if node.type in (list, tuple):
            return node.type(value for _, value in self._items(node.num_attributes))
        if node.type is dict:
            return dict(self._items(node.num_attributes))
        if hasattr(node.type, "_fields"):
            return node.type(*(value for _, value in self._items(node.num_attributes)))
        new: Any = new_object(node.type)
        if node.index is not None:
            self.made[node.index] = new
        adopt(new, {str(name): value for name, value in self._items(node.num_attributes)})
        return new

    def _items(self, number: int) -> Iterator[tuple[Any, Any]]:
        for _ in range(number):
            name, attribute = next(self.attributes)
            if isinstance(attribute, Value):
                yield name, attribute.value
            elif isinstance(attribute, LeafAttribute):
                yield name, _PLACEHOLDER
            else:
                yield name, self.node()


def _read(self: GraphDef, state: Sequence[Any]) -> None:
    found = graphdef_of(state)
    counts = found.num_leaves, found.num_nodes, found.num_roots, found.num_before
    self.__init__(found.tokens, found.statics, *counts)  # type: ignore[misc]


# Only a pickle that Flax wrote has a state. It names `flax.nnx.graphlib`, which imports this file.
GraphDef.__setstate__ = _read  # type: ignore[attr-defined]
