"""Encodes the structure of modules as a sequence of tokens, and decodes it.

A walk over some roots visits attributes by sorted name, depth first, and each object once. It
produces a `GraphDef`, a flat tuple of tokens that describes everything but the values of the
leaves, and lists of the visited nodes and leaves (`Walk`). `build` reads the tokens and makes new
objects with given leaves.

The tokens are plain hashable tuples, compared and hashed at C speed. Objects, lists, dicts and
variables have an identity and get the next index when they are first visited. A repeated visit is a
reference to the index, which preserves sharing. The tokens hold static values by key (see
`statics`); the values themselves are stored separately, for `build`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax

from ...errors import ArgumentError, counted
from ..nodes import edits
from ..nodes.contents import attribute_names, one_level, sorted_keys
from ..nodes.kinds import (
    ARRAY,
    DICT,
    LIST,
    OBJECT,
    REFERENCE,
    STATIC,
    TREE,
    VARIABLE,
    kind_of,
    known_kinds,
)
from ..nodes.pytree import _set_marks, marks_of, new_object
from ..nodes.statics import can_change, static_key
from ..variable.variable import Variable, _set_metadata, new_variable, set_raw_value
from .graphdef import GraphDef

ABSENT = object()

Token = tuple[Any, ...]
"""A kind of node, followed by the data of that kind; see `graphdef`."""


class _MetadataKey:
    """A variable's metadata in a token: hashed by static keys, with the values kept for `build`."""

    __slots__ = ("_hash", "items", "key")

    def __init__(self, items: Mapping[str, Any]) -> None:
        self.items = items
        self.key = frozenset((k, static_key(v)) for k, v in items.items())
        self._hash = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _MetadataKey) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return _MetadataKey, (dict(self.items),)  # hashes of strings differ between processes


NO_METADATA = _MetadataKey(MappingProxyType({}))


class Walk:
    """A walk over roots: the structure, and the nodes and leaves that it visited.

    Args:
      roots: the objects to start from.
      before: the nodes of earlier walks, which this walk continues and refers to by index.

    Attributes:
      graphdef: the structure.
      nodes: objects, lists, dicts and variables by index.
      leaves: for each leaf, the `Variable` or the raw array.
      slots: for each leaf, None for a variable; for a raw array, (mutable owner, key), or None if
        the array is inside an immutable container.
      changeable: static values that may be edited in place.
    """

    __slots__ = (
        "_index_of",
        "_opaque",
        "_put",
        "_statics",
        "_tokens",
        "changeable",
        "graphdef",
        "leaves",
        "nodes",
        "slots",
    )

    def __init__(self, roots: Sequence[Any], before: Sequence[Any] = ()) -> None:
        self.nodes: list[Any] = list(before)
        self.leaves: list[Any] = []
        self.slots: list[Any] = []
        self.changeable: list[Any] = []
        self._tokens: list[Any] = []
        self._put = self._tokens.append
        self._statics: list[Any] = []
        self._opaque: dict[type, Any] = {}
        self._index_of = {id(node): i for i, node in enumerate(before)}
        for root in roots:
            self._visit(root, None, None, True)  # a root is data, even if it is a plain number
        self.graphdef: GraphDef = GraphDef(
            tuple(self._tokens),
            tuple(self._statics),
            len(self.leaves),
            len(self.nodes),
            len(roots),
            len(before),
        ).interned()

    @property
    def opaque(self) -> list[Any]:
        """Static values, one per class, that would be trees if their class were registered."""
        return list(self._opaque.values())

    def _visit(self, value: object, owner: object, key: object, mark: bool | None) -> None:
        """Visits a value.

        Args:
          value: the value.
          owner, key: the object's attributes, list or dict that holds the value, and its key there;
            None for a root, or within a tree.
          mark: the user's mark: True for data, False for static, None for no mark.
        """
        if mark is False:
            self._visit_static(value)
            return
        kind = known_kinds.get(id(type(value)))
        if kind is None:
            kind = self._kind_to_ask(value)
        if kind == STATIC and (mark is None or value is None):
            self._visit_static(value)
        elif kind in (ARRAY, STATIC):
            self._put((ARRAY,))
            self.leaves.append(value)
            self.slots.append(None if owner is None else (owner, key))
        elif kind == TREE:
            children, structure, keys = one_level(value)
            self._put((TREE, structure, tuple(keys)))
            for child in children:
                self._visit(child, None, None, None)
        else:
            self._visit_node(value, kind)

    def _kind_to_ask(self, value: object) -> int:
        """The kind of a value whose class may still be registered as a pytree."""
        cls = type(value)
        if cls in self._opaque:
            return STATIC
        kind = kind_of(value)
        if kind == STATIC and not isinstance(value, jax.core.Tracer):
            self._opaque[cls] = value
        return kind

    def _visit_static(self, value: object) -> None:
        self._put((STATIC, static_key(value)))
        self._statics.append(value)
        if can_change(value):
            self.changeable.append(value)

    def _visit_node(self, value: Any, kind: int) -> None:
        index = self._index_of.get(id(value))
        if index is not None:
            self._put((REFERENCE, index))
            return
        self._index_of[id(value)] = len(self.nodes)
        self.nodes.append(value)
        if kind == VARIABLE:
            metadata = value._metadata
            held = _MetadataKey(metadata) if metadata else NO_METADATA
            self._put((VARIABLE, type(value), held))
            self.leaves.append(value)
            self.slots.append(None)
        elif kind == OBJECT:
            attributes = value.__dict__
            names = attribute_names(value)
            marks = marks_of(value)
            self._put((OBJECT, type(value), tuple(names), tuple(marks.items()) if marks else ()))
            visit, visit_static, known = self._visit, self._visit_static, known_kinds.get
            for name in names:
                inner, mark = attributes[name], marks.get(name)
                if mark is None and known(id(type(inner))) == STATIC:  # most are; saves a call
                    visit_static(inner)
                else:
                    visit(inner, attributes, name, mark)
        elif kind == LIST:
            self._put((LIST, len(value)))
            for i, item in enumerate(value):
                self._visit(item, value, i, None)
        else:
            names = sorted_keys(value)
            self._put((DICT, tuple(names), tuple(value)))
            for name in names:
                self._visit(value[name], value, name, None)


def build(
    graphdef: GraphDef,
    leaves: Iterable[Any],
    reuse: Callable[[int], Any] | None = None,
    stamp: object = None,
    recreate: bool = True,
    before: Sequence[Any] = (),
) -> tuple[list[Any], list[Any]]:
    """Builds the objects of a structure with given leaves.

    Args:
      graphdef: the structure.
      leaves: for each variable, its value, or a `Variable` to use directly; for each raw array, the
        array.
      reuse: maps the index of a node to an existing node to fill, or to None for a new node.
      stamp: the trace level of new objects; None for the current one.
      recreate: whether to wrap the value of a variable in a variable; if False, it stays bare.
      before: the nodes of earlier walks that the structure refers to.

    Returns:
      The roots, and all nodes by index.
    """
    builder = _Builder(graphdef, leaves, reuse, stamp, recreate, before)
    return [builder.next() for _ in range(graphdef.num_roots)], builder.nodes


class _Builder:
    """Reads the tokens of a structure in order; see `build` for the arguments."""

    __slots__ = ("_leaves", "_recreate", "_reuse", "_stamp", "_statics", "_tokens", "nodes")

    def __init__(
        self,
        graphdef: GraphDef,
        leaves: Iterable[Any],
        reuse: Callable[[int], Any] | None,
        stamp: object,
        recreate: bool,
        before: Sequence[Any],
    ) -> None:
        self._tokens = iter(graphdef.tokens)
        self._statics = iter(zip(graphdef.statics, graphdef.changeable, strict=True))
        self._leaves = iter(leaves)
        self._reuse = reuse
        self._stamp = edits.trace_state() if stamp is None else stamp
        self._recreate = recreate
        missing = graphdef.num_before - len(before)
        self.nodes: list[Any] = [*before, *([ABSENT] * missing)]

    def next(self) -> object:
        """The next value."""
        return self.read(next(self._tokens))

    def read(self, token: Token, present: object = ABSENT) -> object:
        """The value that starts with a token.

        Args:
          token: the token taken last.
          present: the value currently at that place.
        """
        kind = token[0]
        if kind == VARIABLE:
            return self._variable(token)
        if kind == STATIC:
            return self._static(token, present)
        if kind == ARRAY:
            value = next(self._leaves)
            return value.raw_value if isinstance(value, Variable) else value
        if kind == REFERENCE:
            return self._referred(token[1])
        if kind == TREE:
            return jax.tree_util.tree_unflatten(token[1], [self.next() for _ in token[2]])
        known = self._reuse(len(self.nodes)) if self._reuse is not None else None
        if kind == OBJECT:
            return self._object(token, known)
        if kind == LIST:
            items: list[Any] = [] if known is None else known
            self.nodes.append(items)
            items[:] = [self.next() for _ in range(token[1])]
            return items
        mapping: dict[Any, Any] = {} if known is None else known
        self.nodes.append(mapping)
        by_name = {name: self.next() for name in token[1]}
        mapping.clear()
        mapping.update((name, by_name[name]) for name in token[2])
        return mapping

    def _static(self, token: Token, present: object) -> object:
        value, changeable = next(self._statics)
        if present is not ABSENT and static_key(present) == token[1]:
            return present  # the caller's value, in case it is compared with `is`
        return _copied(value) if changeable else value

    def _variable(self, token: Token) -> object:
        value = next(self._leaves)
        known = None if self._reuse is None else self._reuse(len(self.nodes))
        if known is not None:
            set_raw_value(known, value)
            if token[2] != _MetadataKey(known._metadata):
                _set_metadata(known, token[2].items)
            value = known
        elif self._recreate and not isinstance(value, Variable):
            value = new_variable(token[1], value, token[2].items, self._stamp)
        self.nodes.append(value)
        return value

    def _referred(self, index: int) -> object:
        if self.nodes[index] is ABSENT:
            raise ArgumentError(
                "The structure refers to an object of a different structure, which was flattened "
                "before it.",
                hint=(
                    "First unflatten what was flattened before it, with the same index_ref: "
                    "nnx.unflatten(graphdef, leaves, index_ref=index_ref)."
                ),
            )
        return self.nodes[index]

    def _object(self, token: Token, known: Any) -> object:
        new = new_object(token[1], self._stamp) if known is None else known
        self.nodes.append(new)
        if type(new) is not token[1]:  # the function assigned `__class__`
            object.__setattr__(new, "__class__", token[1])
            edits.replaced[0] += 1
        if token[3] and dict(token[3]) != marks_of(new):
            _set_marks(new, dict(token[3]))
        attributes, tokens = new.__dict__, self._tokens
        if known is None:
            statics, variable = self._statics, self._variable
            for name in token[2]:
                inner = next(tokens)
                kind = inner[0]
                if kind == STATIC:  # most are; saves a call
                    value, changeable = next(statics)
                    attributes[name] = _copied(value) if changeable else value
                else:
                    attributes[name] = variable(inner) if kind == VARIABLE else self.read(inner)
            return new
        read, present = self.read, attributes.get
        filled = {n: read(next(tokens), present(n, ABSENT)) for n in token[2]}
        for name in [n for n in attributes if n not in filled]:
            del attributes[name]
        attributes.update(filled)
        return new


def _copied(value: object) -> object:
    """A copy of a static value, so that a function's edits don't change the original."""
    if isinstance(value, (list, dict, set)):
        return copy.copy(value)
    return value


def refuse_leftover(wanted: int, got: int) -> None:
    """Checks that the number of leaves is the expected one.

    Raises:
      ArgumentError: the numbers differ.
    """
    if wanted != got:
        raise ArgumentError(
            f"Incorrect number of leaves: the states have {counted(got, 'leaf', 'leaves')}, the"
            f" GraphDef {wanted}.",
            hint="Merge a GraphDef with all the states that nnx.split returned with it.",
        )
