"""`split_context`, `merge_context`, `update_context`: building blocks for user-defined transforms.

A transform splits the caller's modules, merges them inside the traced function, splits them again
after the body has run, and finally, outside the function, merges the result into the caller's
objects. The first split numbers the objects, and the second returns the number of each of its
objects; everything else is `split` and `merge`.

A context doesn't split an object twice: the structure of a later split refers to the earlier one,
and its state holds only new leaves. To merge such a structure, merge the earlier ones first, in
the same order.

    with nnx.update_context("mine"):
        with nnx.split_context("mine") as ctx:
            graphdef, state = ctx.split(module)
        ...                                                     # inside a jax transform:
        with nnx.merge_context("mine", inner=True) as ctx:
            module = ctx.merge(graphdef, state)
        with nnx.split_context("mine") as ctx:
            graphdef, state = ctx.split(module)
        ...                                                     # and outside again:
        with nnx.merge_context("mine", inner=False) as ctx:
            module = ctx.merge(graphdef, state)                 # the caller's module, updated
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator
from typing import Any

from ...errors import ArgumentError, counted
from ..filters import Filter
from ..nodes import edits
from ..variable.variable import Variable
from .graph import _divide, _leaves_for, _nested
from .graphdef import Number, NumberedGraphDef
from .levels import refuse_other_values
from .states import FlatState, _refuse_remainder
from .structure import Walk, build


class UpdateContext:
    """The data that the splits and merges of one `update_context` share."""

    def __init__(self, tag: Hashable) -> None:
        self.tag = tag
        self.outer: dict[Number, Any] = {}
        self.inner: dict[int, tuple[Any, Number]] | None = None  # by identity
        self.splits = 0


_active = threading.local()


def current_update_context(tag: Hashable) -> UpdateContext:
    """The innermost open context with this tag.

    Raises:
      ArgumentError: there is none.
    """
    stack: list[UpdateContext] = getattr(_active, "stack", [])
    for context in reversed(stack):
        if context.tag == tag:
            return context
    raise ArgumentError(
        f"No update context is open for the tag {tag!r}.",
        hint="Run all four steps inside `with nnx.update_context(tag):`.",
    )


def _context(tag: Hashable | None) -> UpdateContext | None:
    return None if tag is None else current_update_context(tag)


@contextlib.contextmanager
def update_context(tag: Hashable) -> Iterator[UpdateContext]:
    """Connects the splits and merges with this tag; a context manager or decorator."""
    context = UpdateContext(tag)
    stack = _active.__dict__.setdefault("stack", [])
    stack.append(context)
    try:
        yield context
    finally:
        stack.remove(context)


class SplitContext:
    """Splits modules; see `split_context`."""

    def __init__(self, context: UpdateContext | None) -> None:
        self._context = context
        self._roots: list[Any] = []
        self._numbers: dict[int, Number | None] = {}  # of all nodes so far, by identity

    def split(self, node: object, *filters: Filter) -> tuple[Any, ...]:
        """Like `nnx.split`; under a tag, the structure includes the numbers of its objects."""
        walk, before = Walk([node]), (0, 0)
        if not self._numbers.keys().isdisjoint(map(id, walk.nodes)):
            known = Walk(self._roots)
            before = (len(known.nodes), len(known.leaves))
            walk = Walk([*self._roots, node])
        numbers = self._number(walk.nodes)
        self._roots.append(node)
        structure: Any = NumberedGraphDef(walk.graphdef, numbers, before)
        leaves = walk.leaves[before[1] :]
        paths = structure.paths
        if self._context is None and before == (0, 0):
            structure = walk.graphdef
        if not filters:
            return structure, _nested(paths, leaves)
        *parts, rest = _divide(paths, leaves, filters)
        _refuse_remainder(FlatState.from_sorted_keys_values(tuple(rest[0]), rest[1]))
        return structure, *(_nested(*part) for part in parts)

    def _number(self, nodes: list[Any]) -> tuple[Number | None, ...]:
        context = self._context
        new = [(i, n) for i, n in enumerate(nodes) if id(n) not in self._numbers]
        if context is None:
            found: list[tuple[Any, Number | None]] = [(n, None) for _, n in new]
        elif context.inner is None:  # the caller's objects
            number = context.splits
            context.splits += 1
            found = [(n, (number, i)) for i, n in new]
            context.outer.update({(number, i): n for i, n in new})
        else:
            inner = context.inner
            found = [(n, inner[id(n)][1] if id(n) in inner else None) for _, n in new]
        self._numbers.update({id(n): number for n, number in found})
        return tuple([self._numbers[id(n)] for n in nodes])


class MergeContext:
    """Merges modules; see `merge_context`."""

    def __init__(self, context: UpdateContext | None, inner: bool | None) -> None:
        self._context = context
        self._inner = inner
        self._roots: list[Any] = []

    def merge(self, graphdef: Any, state: object, *states: object) -> Any:
        """Like `nnx.merge`; outside the transform, merges into the objects that were split."""
        context = self._context
        if not isinstance(graphdef, NumberedGraphDef):
            graphdef = NumberedGraphDef(graphdef, (None,) * graphdef.num_nodes)
        plain, numbers = graphdef.graphdef, graphdef.numbers
        leaves = _leaves_for(graphdef, (state, *states))
        before, before_leaves = self._before(graphdef)
        known: list[Any] = [*before, *([None] * (plain.num_nodes - len(before)))]
        if context is not None and self._inner:
            leaves = [x.copy() if isinstance(x, Variable) else x for x in leaves]
        elif context is not None:
            leaves = [x.raw_value if isinstance(x, Variable) else x for x in leaves]
            outer = [None if n is None else context.outer.get(n) for n in numbers]
            known = [*before, *outer[len(before) :]]
        leaves = [*before_leaves, *leaves]
        refuse_other_values(plain, known, leaves)
        roots, nodes = build(plain, leaves, known.__getitem__)
        self._roots.append(roots[-1])
        if context is not None and self._inner:
            context.inner = {} if context.inner is None else context.inner
            for node, number in zip(nodes, numbers, strict=True):
                if number is not None:
                    context.inner[id(node)] = (node, number)
        elif context is not None:
            edits.count[0] += 1
            context.inner = None
        return roots[-1]

    def _before(self, graphdef: NumberedGraphDef) -> tuple[list[Any], list[Any]]:
        """The nodes and leaf values of earlier splits that a structure refers to."""
        if graphdef.before == (0, 0):
            return [], []
        walk = Walk(self._roots)
        if (len(walk.nodes), len(walk.leaves)) != graphdef.before:
            raise ArgumentError(
                f"The structure refers to {counted(graphdef.before[0], 'object')} split before it,"
                f" but the number merged here is {len(walk.nodes)}.",
                hint=(
                    "In one merge_context, merge everything that one split_context split, in the "
                    "same order."
                ),
            )
        return walk.nodes, [x.raw_value if isinstance(x, Variable) else x for x in walk.leaves]


@contextlib.contextmanager
def split_context(ctxtag: Hashable | None = None) -> Iterator[SplitContext]:
    """A context whose `split(module, *filters)` splits each object once.

    It is `nnx.split`, except that a later split refers to the objects of an earlier one, and its
    state holds only new leaves. Merge the results in the same order, in one `merge_context`.

    Args:
      ctxtag: the tag of an open `update_context`, in which the splits and merges share their
        records of the caller's objects; None for splits on their own.
    """
    yield SplitContext(_context(ctxtag))


@contextlib.contextmanager
def merge_context(
    ctxtag: Hashable | None = None, inner: bool | None = None
) -> Iterator[MergeContext]:
    """A context whose `merge(graphdef, state)` reverses the splits of one `split_context`.

    Args:
      ctxtag: the tag of an open `update_context`; None for merges on their own.
      inner: True inside the traced function, where merging creates new objects; False after it,
        where merging updates the caller's objects.
    """
    yield MergeContext(_context(ctxtag), inner)
