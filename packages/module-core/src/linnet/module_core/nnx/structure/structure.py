"""The structure of modules as a program of tokens, and back.

A walk over some roots visits attributes by sorted name, depth first, and each object once. It
leaves two things behind: a `GraphDef`, a flat tuple of tokens that says everything but the values
of the leaves, and the lists of what it met (`Walk`). `build` reads the tokens and makes new objects
around given leaves.

The tokens are plain hashable tuples, compared and hashed at C speed. Objects, lists and dicts have
an identity and get the next index when they open; so do variables. A second visit is a reference to
the index, which is how sharing survives. Static values are in the tokens by their key (see
`statics`), and beside them by themselves, to build from.
"""

# Recursive inner functions are deleted when they are done, which ruff takes for undefined names.
# ruff: noqa: F821
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from ...errors import ArgumentError
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


class _MetadataKey:
    """A variable's metadata in a token: hashed by its keys, kept to build from."""

    __slots__ = ("_hash", "items", "key")

    def __init__(self, items: Any) -> None:
        self.items = items
        self.key = frozenset((k, static_key(v)) for k, v in items.items())
        self._hash = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _MetadataKey) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash


NO_METADATA = _MetadataKey({})


class Walk:
    """What a walk over roots met, beside the tokens.

    Args:
      roots: where to start.
      before: the nodes of earlier walks, which this one continues: it refers to them by index.

    Attributes:
      graphdef: the structure.
      nodes: objects, lists, dicts and variables by index.
      leaves: for each leaf, the `Variable`, or a raw array.
      slots: for each leaf, None of a variable; of a raw array (mutable owner, key), or None where
        the array is inside of an immutable container.
      changeable: static values that may be edited in place.
      opaque: static values, one a class, that would be trees if their class was registered as one.
    """

    __slots__ = ("changeable", "graphdef", "leaves", "nodes", "opaque", "slots")

    def __init__(self, roots: Sequence[Any], before: Sequence[Any] = ()) -> None:
        tokens: list[Any] = []
        statics: list[Any] = []
        nodes: list[Any] = list(before)
        leaves: list[Any] = []
        slots: list[Any] = []
        changeable: list[Any] = []
        opaque: dict[type, Any] = {}
        index_of = {id(node): i for i, node in enumerate(before)}
        put, known = tokens.append, known_kinds.get

        def put_static(value: Any) -> None:
            put((STATIC, static_key(value)))
            statics.append(value)
            if can_change(value):
                changeable.append(value)

        def visit(value: Any, owner: Any, key: Any, mark: bool | None) -> None:
            if mark is False:
                put_static(value)
                return
            kind = known(id(type(value)))
            if kind is None:
                if type(value) in opaque:
                    kind = STATIC
                else:
                    kind = kind_of(value)
                    if kind == STATIC and not isinstance(value, jax.core.Tracer):
                        opaque[type(value)] = value
            if kind == STATIC and mark is None:
                put_static(value)
                return
            if kind == ARRAY or (kind == STATIC and value is not None):
                put((ARRAY,))
                leaves.append(value)
                slots.append(None if owner is None else (owner, key))
                return
            if kind == STATIC:
                put_static(value)
                return
            if kind == TREE:
                children, structure, keys = one_level(value)
                put((TREE, structure, tuple(keys)))
                for child in children:
                    visit(child, None, None, None)
                return
            index = index_of.get(id(value))
            if index is not None:
                put((REFERENCE, index))
                return
            index_of[id(value)] = len(nodes)
            nodes.append(value)
            if kind == VARIABLE:
                metadata = value._metadata
                put((VARIABLE, type(value), _MetadataKey(metadata) if metadata else NO_METADATA))
                leaves.append(value)
                slots.append(None)
            elif kind == OBJECT:
                attributes = value.__dict__
                names = attribute_names(value)
                marks = marks_of(value)
                put((OBJECT, type(value), tuple(names), tuple(marks.items()) if marks else ()))
                for name in names:
                    visit(attributes[name], attributes, name, marks.get(name))
            elif kind == LIST:
                put((LIST, len(value)))
                for i, item in enumerate(value):
                    visit(item, value, i, None)
            else:
                names = sorted_keys(value)
                put((DICT, tuple(names), tuple(value)))
                for name in names:
                    visit(value[name], value, name, None)

        for root in roots:
            visit(root, None, None, True)  # a root is data, were it a plain number
        del visit  # it refers to itself: left to the garbage collector it would keep all nodes
        self.graphdef = GraphDef(
            tuple(tokens), tuple(statics), len(leaves), len(nodes), len(roots), len(before)
        ).interned()
        self.nodes = nodes
        self.leaves = leaves
        self.slots = slots
        self.changeable = changeable
        self.opaque = list(opaque.values())


def build(
    graphdef: GraphDef,
    leaves: Iterable[Any],
    reuse: Callable[[int], Any] | None = None,
    stamp: Any = None,
    recreate: bool = True,
    before: Sequence[Any] = (),
) -> tuple[list[Any], list[Any]]:
    """Objects of a structure around given leaves.

    Args:
      graphdef: the structure.
      leaves: of each leaf of a variable its value, or the `Variable` itself, to be used as it is;
        of a raw array the array.
      reuse: for the index of a node, an existing node to fill, or None for a new one.
      stamp: the trace level of new objects; None for the current one.
      recreate: puts the value of a variable into one; False leaves it bare.
      before: the nodes of earlier walks that the structure refers to.

    Returns:
      The roots, and all nodes by index.
    """
    stamp = edits.trace_state() if stamp is None else stamp
    tokens = iter(graphdef.tokens)
    statics = iter(zip(graphdef.statics, graphdef.changeable, strict=True))
    values = iter(leaves)
    nodes: list[Any] = [*before, *([ABSENT] * (graphdef.num_before - len(before)))]

    def read(token: Any, present: Any = ABSENT) -> Any:
        kind = token[0]
        if kind == STATIC:
            value, changeable = next(statics)
            if present is not ABSENT and static_key(present) == token[1]:
                return present  # the caller's own, should equal ones be told apart by `is`
            return _copied(value) if changeable else value
        if kind == VARIABLE:
            value = next(values)
            known = reuse(len(nodes)) if reuse is not None else None
            if known is not None:
                set_raw_value(known, value)
                if token[2] != _MetadataKey(known._metadata):
                    _set_metadata(known, token[2].items)
                nodes.append(known)
                return known
            if recreate and not isinstance(value, Variable):
                value = new_variable(token[1], value, token[2].items, stamp)
            nodes.append(value)
            return value
        if kind == ARRAY:
            value = next(values)
            return value.raw_value if isinstance(value, Variable) else value
        if kind == REFERENCE:
            if nodes[token[1]] is ABSENT:
                raise ArgumentError(
                    "The structure refers to an object of another one, after which it was"
                    " flattened.",
                    hint="Unflatten first what was flattened before it, with one index_ref for"
                    " all: nnx.unflatten(graphdef, leaves, index_ref=index_ref).",
                )
            return nodes[token[1]]
        if kind == TREE:
            return jax.tree_util.tree_unflatten(token[1], [read(next(tokens)) for _ in token[2]])
        known = reuse(len(nodes)) if reuse is not None else None
        if kind == OBJECT:
            new = new_object(token[1], stamp) if known is None else known
            nodes.append(new)
            if type(new) is not token[1]:  # the function assigned to `__class__`
                object.__setattr__(new, "__class__", token[1])
                edits.replaced[0] += 1
            if token[3] and dict(token[3]) != marks_of(new):
                _set_marks(new, dict(token[3]))
            attributes = new.__dict__
            if known is None:
                for name in token[2]:
                    inner = next(tokens)
                    if inner[0] == STATIC:  # most are: no call for them
                        value, changeable = next(statics)
                        attributes[name] = _copied(value) if changeable else value
                    else:
                        attributes[name] = read(inner)
                return new
            filled = {n: read(next(tokens), attributes.get(n, ABSENT)) for n in token[2]}
            for name in [n for n in attributes if n not in filled]:
                del attributes[name]
            attributes.update(filled)
            return new
        if kind == LIST:
            items: list[Any] = [] if known is None else known
            nodes.append(items)
            items[:] = [read(next(tokens)) for _ in range(token[1])]
            return items
        mapping: dict[Any, Any] = {} if known is None else known
        nodes.append(mapping)
        by_name = {name: read(next(tokens)) for name in token[1]}
        mapping.clear()
        mapping.update((name, by_name[name]) for name in token[2])
        return mapping

    roots = [read(next(tokens)) for _ in range(graphdef.num_roots)]
    del read  # it refers to itself, and would keep all nodes
    return roots, nodes


def _copied(value: Any) -> Any:
    """A copy of a static value that a function may edit without the original's changing."""
    import copy

    if isinstance(value, (list, dict, set)):
        return copy.copy(value)
    return value


def refuse_leftover(wanted: int, got: int) -> None:
    """Refuses a wrong number of leaves.

    Raises:
      ArgumentError: the numbers differ.
    """
    if wanted != got:
        raise ArgumentError(
            f"Incorrect number of leaves, expected {wanted} leaves, but got {got}.",
            hint="Merge a GraphDef with all the states that it was split from.",
        )
