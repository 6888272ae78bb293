"""Whether what a function did may be written where it was called: asked before any of it is.

A transform hands its function's changes back at the trace level of the call. The caller's objects
may be of another level (a model from outside of a `jax.jit`, reached through a closure), and a
change of theirs would leave tracers in them, or would happen once and never again. That is the same
mistake as a plain assignment there, and gets the same error; all changes are looked at first, so
that a refused call leaves everything as it was.

Nearly always all objects of a call are of one level, which their structure remembers: that is one
comparison. Otherwise each object that changed is asked, by comparing what it holds before and
afterwards.
"""

# Recursive inner functions are deleted when they are done, which ruff takes for undefined names.
# ruff: noqa: F821
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
    """Refuses an effect on objects of another trace level than the current one.

    Args:
      bundle: the caller's objects.
      effect: what is about to be done to them.
      values_only: whether nothing but the values of variables is handed on.

    Raises:
      TraceContextError: an object that would change is of another level. Nothing has changed.
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
    """What each node holds, and which node has the stamp for it: a list's is its object's."""
    found: list[Any] = [None] * graphdef.num_nodes
    tokens = iter(graphdef.tokens)
    node_numbers = iter(range(graphdef.num_nodes))
    leaf_numbers = iter(range(graphdef.num_leaves))

    def visit(held: list[Any], owner: int) -> None:
        token = next(tokens)
        kind = token[0]
        if kind == STATIC:
            held.append(token)
        elif kind == ARRAY:
            held.append((ARRAY, name_leaf(next(leaf_numbers))))
        elif kind == REFERENCE:
            held.append((REFERENCE, name_node(token[1])))
        elif kind == TREE:
            held.append(token)
            visit_all(len(token[2]), held, owner)
        else:
            index = next(node_numbers)
            held.append((REFERENCE, name_node(index)))
            inner: list[Any] = [token]
            owner = owner if kind in (LIST, DICT) else index
            found[index] = (inner, owner)
            if kind == VARIABLE:
                inner.append(name_leaf(next(leaf_numbers)))
            else:
                visit_all(
                    token[1] if kind == LIST else len(token[2 if kind == OBJECT else 1]),
                    inner,
                    owner,
                )

    def visit_all(count: int, held: list[Any], owner: int) -> None:
        for _ in range(count):
            visit(held, owner)

    visit_all(graphdef.num_roots, [], 0)
    del visit, visit_all  # they refer to each other
    return found


def refuse_other_values(graphdef: GraphDef, nodes: Sequence[Any], values: Sequence[Any]) -> None:
    """Refuses new values for variables of another trace level than the current one.

    Args:
      graphdef: the structure that the values are for.
      nodes: for each node of it the existing one, or None.
      values: of its leaves.

    Raises:
      TraceContextError: an existing variable would change and is of another level.
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


def level_of(node: Any) -> Any:
    """The stamp of an object or variable; None of a container, or of an object without one."""
    if isinstance(node, Variable):
        return node._nnx_stamp
    if isinstance(node, Pytree):
        try:
            return get_stamp(node)
        except AttributeError:  # nothing was assigned yet
            return None
    return None


def common_level(nodes: Sequence[Any]) -> Any:
    """The stamp that all objects and variables have, or None if they differ."""
    stamps = [s for s in map(level_of, nodes) if s is not None]
    first = stamps[0] if stamps else None
    return first if all(s is first or s == first for s in stamps) else None
