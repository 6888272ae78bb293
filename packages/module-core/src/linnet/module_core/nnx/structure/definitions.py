"""Named parts of a `GraphDef`, for programs that inspect one.

`graphdef.nodes` holds a `NodeDef` for each object or container, a `VariableDef` for each variable
and a `NodeRef` for each repeated one, in the order of the walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...records import Record
from ..nodes.kinds import DICT, LIST, OBJECT, REFERENCE, TREE, VARIABLE


class NodeDef(Record):
    """An object or a container.

    Attributes:
      type: its class.
      index: its number among all nodes; None for a jax pytree, which has no identity.
      outer_index: always None; a transform keeps its numbers separately from the structure.
      num_attributes: the number of its attributes or items.
      metadata: any other data needed to build it.
    """

    type: Any
    index: int | None
    outer_index: int | None
    num_attributes: int
    metadata: Any

    def __init__(
        self,
        type: object,
        index: int | None,
        outer_index: int | None,
        num_attributes: int,
        metadata: object = None,
    ) -> None:
        vars(self).update(
            type=type,
            index=index,
            outer_index=outer_index,
            num_attributes=num_attributes,
            metadata=metadata,
        )

    # Pickled as its fields in order, as Flax's is.

    def __getstate__(self) -> list[Any]:
        return list(vars(self).values())

    def __setstate__(self, state: Sequence[Any]) -> None:
        vars(self).update(zip(self.__match_args__, state, strict=True))


class VariableDef(Record):
    """A variable.

    Attributes:
      type: its class.
      index: its number among all nodes.
      outer_index: always None.
      metadata: its metadata.
    """

    type: Any
    index: int
    outer_index: int | None
    metadata: Mapping[str, Any]

    def __init__(
        self, type: object, index: int, outer_index: int | None, metadata: Mapping[str, Any]
    ) -> None:
        vars(self).update(type=type, index=index, outer_index=outer_index, metadata=metadata)


class NodeRef(Record):
    """A repeated occurrence of a node.

    Attributes:
      index: the number of the node.
    """

    index: int

    def __init__(self, index: int) -> None:
        vars(self).update(index=index)


def nodes_of(tokens: tuple[Any, ...], first: int = 0) -> list[NodeDef | VariableDef | NodeRef]:
    """The nodes in a sequence of tokens (see `structure`), numbered from `first`."""
    found: list[NodeDef | VariableDef | NodeRef] = []
    index = first - 1
    for token in tokens:
        kind = token[0]
        index += kind in (OBJECT, VARIABLE, LIST, DICT)
        if kind == OBJECT:
            found.append(NodeDef(token[1], index, None, len(token[2]), token[1]))
        elif kind == VARIABLE:
            found.append(VariableDef(token[1], index, None, token[2].items))
        elif kind == LIST:
            found.append(NodeDef(list, index, None, token[1]))
        elif kind == DICT:
            found.append(NodeDef(dict, index, None, len(token[1])))
        elif kind == TREE:
            node_data = token[1].node_data()
            cls = node_data[0] if node_data else None
            found.append(NodeDef(cls, None, None, len(token[2]), token[1]))
        elif kind == REFERENCE:
            found.append(NodeRef(token[1]))
    return found
