"""A cached structure, with a check in microseconds that it is still valid.

A `Snapshot` belongs to one root object and is stored in a slot of that object, so both are freed
together. It keeps the result of a walk, and the contents of each object, list and dict at that
time. The check that the contents are unchanged has three steps, cheapest first:

1. If no nnx object was edited since the last check (`edits.count`), objects are unchanged.
2. Otherwise, contents are compared by identity, all at C speed. Equality would run user-defined
   code, and consider 1 and True equal.
3. Edits of plain lists and dicts, and of static values that can be edited in place, are not
   counted, so these are compared on every check. Most models have few.

A raw array held by an object is data: replacing it with another array keeps the structure.
Containers with raw arrays are compared item by item, and any array matches any other.

A snapshot refers only to its root's `__dict__`, not to the root, so there is no reference cycle: a
dropped model is freed immediately.
"""

from __future__ import annotations

import weakref
from itertools import chain, count
from operator import attrgetter, is_
from typing import Any

from jax.tree_util import all_leaves

from ..nodes import edits
from ..nodes.kinds import ARRAY, LIST, OBJECT, VARIABLE, kind_of
from ..nodes.pytree import Pytree, get_structure, set_structure
from ..nodes.statics import static_key
from ..variable.variable import Variable
from .graphdef import GraphDef
from .levels import common_level
from .structure import Walk

_metadata_of = attrgetter("_metadata")
_value_of = attrgetter("raw_value")
_OPEN = object()  # in place of a raw array; any array matches it
_serial = count()


Content = list[Any] | dict[Any, Any]
"""The contents of a node: the items of a list, or the entries of a dict or of an object."""


class Snapshot:
    """The structure of one root at the last walk.

    Attributes:
      graphdef: the structure.
      leaves: variables, and None in place of each raw array.
      slots: the places of the raw arrays.
      level: the trace level of all nodes, or None if they differ.
      ids: identities of all nodes, to check whether two roots share any.
      serial: a unique number of the snapshot.
    """

    __slots__ = (
        "__weakref__",
        "_apart",
        "_changeable",
        "_dicts",
        "_edits",
        "_lists",
        "_metadata",
        "_opaque",
        "_others",
        "_replaced",
        "_root",
        "_variables",
        "_with_arrays",
        "graphdef",
        "ids",
        "inner_nodes",
        "leaves",
        "level",
        "serial",
        "simple",
        "slots",
    )

    def __init__(self, root: object) -> None:
        self._edits = edits.count[0]
        self._replaced = edits.replaced[0]
        walk = Walk([root])
        self.serial = next(_serial)
        self.graphdef: GraphDef = walk.graphdef
        self.slots = list(walk.slots)
        arrays = [not isinstance(x, Variable) for x in walk.leaves]
        self.leaves = [None if a else x for a, x in zip(arrays, walk.leaves, strict=True)]
        self.simple = not any(arrays)
        self._variables = [x for x in self.leaves if x is not None]
        self._root = weakref.ref(root)
        self.inner_nodes = walk.nodes[1:]
        self.level = common_level(walk.nodes)
        self.ids = frozenset(map(id, walk.nodes))
        self._apart: set[int] = set()
        self._metadata = list(map(_metadata_of, self._variables))

        objects: list[dict[str, Any]] = []
        lists: list[list[Any]] = []
        others: list[dict[Any, Any]] = []
        self._with_arrays: list[tuple[Any, Any]] = []
        for node in walk.nodes:
            kind = kind_of(node)
            if kind == VARIABLE:
                continue
            content = node.__dict__ if kind == OBJECT else node
            values = content if kind == LIST else content.values()
            if any(kind_of(v) == ARRAY for v in values):
                self._with_arrays.append((content, _outline(content)))
            elif kind == OBJECT:
                objects.append(content)
            elif kind == LIST:
                lists.append(content)
            else:
                others.append(content)
        self._dicts = _remember(objects)
        self._others = _remember(others)
        self._lists = (lists, list(map(len, lists)), list(chain.from_iterable(lists)))
        self._changeable = [(x, static_key(x)) for x in walk.changeable]
        self._opaque = walk.opaque

    def holds(self) -> bool:
        """Whether the structure is still valid."""
        now = edits.count[0]
        if now != self._edits and not (
            self._replaced == edits.replaced[0]
            and _unchanged(self._dicts)
            and all(map(is_, map(_metadata_of, self._variables), self._metadata))
        ):
            return False
        if self._others[0] and not _unchanged(self._others):
            return False
        lists, lengths, items = self._lists
        if lists and not (
            list(map(len, lists)) == lengths and all(map(is_, chain.from_iterable(lists), items))
        ):
            return False
        if self._with_arrays:
            for content, outline in self._with_arrays:
                if not _fits(content, outline):
                    return False
        if self._opaque and not all_leaves(self._opaque):  # a class was registered as a pytree
            return False
        for value, key in self._changeable:
            if static_key(value) != key:
                return False
        self._edits = now
        return True

    def values(self) -> list[Any]:
        """The values of all leaves, in order."""
        if self.simple:
            return list(map(_value_of, self.leaves))
        return [
            slot_value(slot, tree) if leaf is None else leaf.raw_value
            for leaf, slot, tree in zip(self.leaves, self.slots, self._trees(), strict=True)
        ]

    def _trees(self) -> list[Any]:
        # Raw arrays inside immutable containers have no slot and are found by walking.
        if all(
            s is not None or x is not None for s, x in zip(self.slots, self.leaves, strict=True)
        ):
            return [None] * len(self.leaves)
        return Walk([self._root()]).leaves

    def nodes(self) -> list[Any]:
        """All nodes by index."""
        return [self._root(), *self.inner_nodes]

    def is_apart_from(self, other: Snapshot) -> bool:
        """Whether this root and another share nothing."""
        if other.serial in self._apart:
            return True
        if self is other or not self.ids.isdisjoint(other.ids):
            return False
        if len(self._apart) > 64:
            self._apart.clear()
        self._apart.add(other.serial)
        return True


def slot_value(slot: tuple[Any, Any] | None, inside: object) -> object:
    """The array in a slot."""
    return inside if slot is None else slot[0][slot[1]]


def _remember(dicts: list[Any]) -> tuple[Any, ...]:
    return (
        dicts,
        list(map(len, dicts)),
        list(chain.from_iterable(dicts)),
        list(chain.from_iterable(map(dict.values, dicts))),
    )


def _unchanged(remembered: tuple[Any, ...]) -> bool:
    dicts, lengths, keys, values = remembered
    return (
        list(map(len, dicts)) == lengths
        and list(chain.from_iterable(dicts)) == keys
        and all(map(is_, chain.from_iterable(map(dict.values, dicts)), values))
    )


def _outline(content: Content) -> Content:
    if isinstance(content, list):
        return [_OPEN if kind_of(x) == ARRAY else x for x in content]
    return {k: _OPEN if kind_of(x) == ARRAY else x for k, x in content.items()}


def _fits(content: Content, outline: Content) -> bool:
    if len(content) != len(outline):
        return False
    if isinstance(content, list):
        pairs: Any = zip(content, outline, strict=True)
    else:
        if not isinstance(outline, dict) or list(content) != list(outline):
            return False
        pairs = zip(content.values(), outline.values(), strict=True)
    return all(x is y or (y is _OPEN and kind_of(x) == ARRAY) for x, y in pairs)


def snapshot_of(root: Pytree) -> Snapshot:
    """The snapshot of a root: the cached one if it is still valid, or a new one."""
    try:
        snapshot: Snapshot = get_structure(root)
    except AttributeError:
        pass
    else:
        if snapshot.holds():
            return snapshot
    snapshot = Snapshot(root)
    set_structure(root, snapshot)
    return snapshot
