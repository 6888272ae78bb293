"""`split_context`, `merge_context`, `update_context`: a transform written by hand.

A transform splits the caller's modules, merges them inside of the traced function, splits them
there again when the body ran, and merges them outside into the caller's very objects. The first
split numbers the objects, and what the second split sends out says which of its objects have which
number; all else is `split` and `merge`.

    with nnx.update_context("mine"):
        with nnx.split_context("mine") as ctx:
            graphdef, state = ctx.split(module)
        ...                                                     # inside of a jax transform:
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

import jax

from ...errors import ArgumentError
from .. import edits
from ..filters import Filter
from ..graph import _divide, _leaves_for, _nested
from ..levels import refuse_other_values
from ..state import FlatState, _refuse_remainder
from ..structure import GraphDef, Walk, build
from ..variable import Variable

Number = tuple[int, int]
"""Of an object: which split of the context met it, and its index there."""


class NumberedGraphDef:
    """A structure, with the number of each of its objects in the context; hashable."""

    __slots__ = ("graphdef", "numbers")

    def __init__(self, graphdef: GraphDef, numbers: tuple[Number | None, ...]) -> None:
        self.graphdef = graphdef
        self.numbers = numbers

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NumberedGraphDef)
            and self.graphdef == other.graphdef
            and self.numbers == other.numbers
        )

    def __hash__(self) -> int:
        return hash((self.graphdef, self.numbers))

    def __repr__(self) -> str:
        return f"Numbered{self.graphdef!r}"


jax.tree_util.register_static(NumberedGraphDef)


class UpdateContext:
    """What the splits and merges of one `update_context` know of each other."""

    def __init__(self, tag: Hashable) -> None:
        self.tag = tag
        self.outer: dict[Number, Any] = {}
        self.inner: dict[int, tuple[Any, Number]] | None = None  # by identity
        self.splits = 0


_active = threading.local()


def _context(tag: Hashable | None) -> UpdateContext | None:
    if tag is None:
        return None
    stack: list[UpdateContext] = getattr(_active, "stack", [])
    for context in reversed(stack):
        if context.tag == tag:
            return context
    raise ArgumentError(
        f"No update context found for tag {tag!r}.",
        hint="Run all four steps inside of `with nnx.update_context(tag):`.",
    )


@contextlib.contextmanager
def update_context(tag: Hashable) -> Iterator[UpdateContext]:
    """Connects the splits and merges with this tag; a context manager or a decorator."""
    context = UpdateContext(tag)
    stack = _active.__dict__.setdefault("stack", [])
    stack.append(context)
    try:
        yield context
    finally:
        stack.remove(context)


class SplitContext:
    """Splits modules; see `split_context`.

    What was split already is only referred to by later splits: their states don't hold it again.
    """

    def __init__(self, context: UpdateContext | None) -> None:
        self._context = context
        self._nodes: list[Any] = []

    def split(self, node: Any, *filters: Filter) -> Any:
        """As `nnx.split`; under a tag, the structure has the numbers of its objects."""
        context = self._context
        walk = Walk([node], before=self._nodes)
        new_nodes, self._nodes = walk.nodes[len(self._nodes) :], walk.nodes
        graphdef, leaves = walk.graphdef, walk.leaves
        structure: Any = graphdef
        if context is not None:
            structure = NumberedGraphDef(graphdef, self._numbers(context, new_nodes))
        if not filters:
            return structure, _nested(graphdef.paths, leaves)
        *parts, rest = _divide(graphdef.paths, leaves, filters)
        _refuse_remainder(FlatState.from_sorted_keys_values(tuple(rest[0]), rest[1]))
        return structure, *(_nested(*part) for part in parts)

    def _numbers(self, context: UpdateContext, nodes: list[Any]) -> tuple[Number | None, ...]:
        if context.inner is None:  # the caller's objects
            number = context.splits
            context.splits += 1
            found = [(number, i) for i in range(len(nodes))]
            context.outer.update(zip(found, nodes, strict=True))
            return tuple(found)
        known = context.inner
        return tuple([known[id(n)][1] if id(n) in known else None for n in nodes])


class MergeContext:
    """Merges modules; see `merge_context`.

    Structures are merged in the order of the splits, for later ones refer to earlier ones.
    """

    def __init__(self, context: UpdateContext | None, inner: bool | None) -> None:
        self._context = context
        self._inner = inner
        self._nodes: list[Any] = []

    def merge(self, graphdef: Any, state: Any, *states: Any) -> Any:
        """As `nnx.merge`; outside, into the objects that were split there."""
        context, before = self._context, self._nodes
        numbered = graphdef if isinstance(graphdef, NumberedGraphDef) else None
        plain = graphdef if numbered is None else numbered.graphdef
        leaves = _leaves_for(plain, (state, *states))
        if context is None or numbered is None:
            roots, self._nodes = build(plain, leaves, before=before)
            return roots[0]
        numbers = numbered.numbers
        if self._inner:
            fresh = [x.copy() if isinstance(x, Variable) else x for x in leaves]
            roots, self._nodes = build(plain, fresh, before=before)
            context.inner = {} if context.inner is None else context.inner
            for node, number in zip(self._nodes[len(before) :], numbers, strict=True):
                if number is not None:
                    context.inner[id(node)] = (node, number)
            return roots[0]
        values = [x.raw_value if isinstance(x, Variable) else x for x in leaves]

        known = [None if n is None else context.outer.get(n) for n in numbers]
        refuse_other_values(plain, known, values)
        roots, self._nodes = build(plain, values, lambda i: known[i - len(before)], before=before)
        edits.count[0] += 1
        context.inner = None
        return roots[0]


@contextlib.contextmanager
def split_context(ctxtag: Hashable | None = None) -> Iterator[SplitContext]:
    """Gives something with `split(module, *filters)`; see the module's docstring."""
    yield SplitContext(_context(ctxtag))


@contextlib.contextmanager
def merge_context(
    ctxtag: Hashable | None = None, inner: bool | None = None
) -> Iterator[MergeContext]:
    """Gives something with `merge(graphdef, state)`; see the module's docstring."""
    yield MergeContext(_context(ctxtag), inner)
