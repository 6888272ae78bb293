"""Checks, before any change is made, that a function may make it at the trace level of its call.

A transform applies its function's changes at the trace level of the call. The caller's objects may
belong to a different level (a model from outside a `jax.jit`, reached through a closure): changing
them would leave tracers in them, or would happen once, when traced, and never again. A plain
assignment there is the same mistake and raises the same error. All changes are checked first, so
that a failed call changes nothing.

Almost always, all objects of a call belong to one level, which is cached with their structure, so
one comparison suffices. Otherwise the contents of each object before and after are compared to find
the objects that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..nodes import edits
from ..nodes.kinds import ARRAY, DICT, LIST, OBJECT, REFERENCE, STATIC, TREE, VARIABLE
from ..nodes.pytree import Pytree, get_stamp
from ..variable.variable import Variable

if TYPE_CHECKING:
    from .bundle import Bundle
    from .effect import Effect
    from .graphdef import GraphDef


def refuse_other_levels(bundle: Bundle, effect: Effect, values_only: bool = False) -> None:
    """Checks that an effect only changes objects of the current trace level.

    Args:
      bundle: the caller's objects.
      effect: the effect to be applied to them.
      values_only: whether only the values of variables are applied.

    Raises:
      TraceContextError: an object that would change belongs to a different level; nothing changes.
    """
    now = edits.trace_state()
    if bundle.is_of_level(now):
        return
    changed = set(effect.changed)
    sources = dict(effect.kept)
    before = _contents(bundle.graphdef, lambda i: i, lambda i: i)
    after = _contents(
        effect.graphdef,
        lambda i: ("new", i) if effect.origin[i] is None else effect.origin[i],
        lambda i: ("new", i) if i in changed else sources[i],
    )
    nodes = bundle.nodes()
    for (held, _), origin in zip(after, effect.origin, strict=True):
        if origin is None:
            continue
        held_before, owner = before[origin]
        if held == held_before or (values_only and held[0][0] != VARIABLE):
            continue
        node = nodes[owner]
        stamp = level_of(node)
        if stamp is not None:
            edits.check_trace(stamp, node._nnx_description)


def _contents(
    graphdef: GraphDef, name_node: Callable[[int], Any], name_leaf: Callable[[int], Any]
) -> list[tuple[list[Any], int]]:
    """The contents of each node, and the node that has its stamp: a list uses its object's."""
    reader = _ContentsReader(graphdef, name_node, name_leaf)
    reader.read(graphdef.num_roots, [], 0)
    return reader.found


class _ContentsReader:
    """Reads tokens in order; see `_contents`."""

    def __init__(
        self, graphdef: GraphDef, name_node: Callable[[int], Any], name_leaf: Callable[[int], Any]
    ) -> None:
        self.found: list[Any] = [None] * graphdef.num_nodes
        self._tokens = iter(graphdef.tokens)
        self._nodes = iter(range(graphdef.num_nodes))
        self._leaves = iter(range(graphdef.num_leaves))
        self._name_node = name_node
        self._name_leaf = name_leaf

    def read(self, count: int, held: list[Any], owner: int) -> None:
        """Appends the values of the next `count` tokens to `held`."""
        for _ in range(count):
            self._read_one(held, owner)

    def _read_one(self, held: list[Any], owner: int) -> None:
        token = next(self._tokens)
        kind = token[0]
        if kind == STATIC:
            held.append(token)
        elif kind == ARRAY:
            held.append((ARRAY, self._name_leaf(next(self._leaves))))
        elif kind == REFERENCE:
            held.append((REFERENCE, self._name_node(token[1])))
        elif kind == TREE:
            held.append(token)
            self.read(len(token[2]), held, owner)
        else:
            index = next(self._nodes)
            held.append((REFERENCE, self._name_node(index)))
            inner: list[Any] = [token]
            owner = owner if kind in (LIST, DICT) else index
            self.found[index] = (inner, owner)
            if kind == VARIABLE:
                inner.append(self._name_leaf(next(self._leaves)))
            else:
                count = token[1] if kind == LIST else len(token[2 if kind == OBJECT else 1])
                self.read(count, inner, owner)


def refuse_other_values(graphdef: GraphDef, nodes: Sequence[Any], values: Sequence[Any]) -> None:
    """Checks that variables with new values belong to the current trace level.

    Args:
      graphdef: the structure that the values are for.
      nodes: the existing node for each node of the structure, or None.
      values: the values of its leaves.

    Raises:
      TraceContextError: an existing variable would change but belongs to a different level.
    """
    given = iter(values)
    index = -1
    for token in graphdef.tokens:
        kind = token[0]
        index += kind in (OBJECT, VARIABLE, LIST, DICT)
        if kind == ARRAY:
            next(given)
        elif kind == VARIABLE:
            variable, value = nodes[index], next(given)
            if variable is not None and value is not variable.raw_value:
                edits.check_trace(variable._nnx_stamp, variable._nnx_description)


def level_of(node: object) -> object:
    """The stamp of an object or variable; None for a container or an object without a stamp."""
    if isinstance(node, Variable):
        return node._nnx_stamp
    if isinstance(node, Pytree):
        try:
            return get_stamp(node)
        except AttributeError:  # no attribute is assigned yet
            return None
    return None


def common_level(nodes: Sequence[Any]) -> object:
    """The common stamp of all objects and variables, or None if they differ."""
    stamps = [s for s in map(level_of, nodes) if s is not None]
    first = stamps[0] if stamps else None
    return first if all(s is first or s == first for s in stamps) else None
