"""The changes that a function made to its objects: found inside a transform, applied outside.

Inside a transform, the function works on new objects that hold tracers (`Inside`), so the caller's
objects don't change until everything has succeeded. When it returns, the objects are walked again.
The difference is an `Effect`. It is static, so it is part of the structure of the transform's
output and is cached with the compiled program; the output itself holds only the values that
changed.

Usually only values change, and applying the effect takes one assignment for each. Otherwise its
structure is built from the caller's objects, which keep their identity.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from operator import is_
from typing import Any

import jax

from ...arrays import as_strong_as
from ...typing import Output
from ..nodes import edits
from ..variable.variable import Variable, set_raw_value
from .bundle import Bundle, detach_nodes, put_back
from .graphdef import GraphDef
from .levels import refuse_other_levels
from .structure import Walk, build


class Effect:
    """The changes that a function made to its objects.

    Attributes:
      graphdef: the structure of the roots and of new objects in the output, after the function.
      origin: for each node of `graphdef`, the index of the caller's node, or None for a new node.
      changed: the leaves of `graphdef` whose values are sent.
      kept: for each other leaf, the corresponding leaf of the caller's objects.
      in_place: whether only values changed.
    """

    __slots__ = ("_key", "changed", "graphdef", "in_place", "kept", "origin")

    def __init__(
        self,
        graphdef: GraphDef,
        origin: tuple[int | None, ...],
        changed: tuple[int, ...],
        kept: tuple[tuple[int, int], ...],
        in_place: bool,
    ) -> None:
        self.graphdef = graphdef
        self.origin = origin
        self.changed = changed
        self.kept = kept
        self.in_place = in_place
        self._key = (graphdef, origin, changed, kept)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Effect) and self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Effect(changed={list(self.changed)}, in_place={self.in_place})"


class Outcome:
    """A function's output and effect as a pytree, which transforms return.

    Attributes:
      output: the output, with holes.
      values: the values of the leaves that are sent.
      effect: the effect of the function.
    """

    __slots__ = ("effect", "output", "values")

    def __init__(self, output: Output, values: list[Any], effect: Effect) -> None:
        self.output = output
        self.values = values
        self.effect = effect


jax.tree_util.register_pytree_node(
    Outcome,
    lambda o: ((o.output, o.values), o.effect),
    lambda effect, children: Outcome(children[0], children[1], effect),
)


class Plan:
    """The structural part of effects, independent of which values are sent; static.

    Attributes:
      graphdef, origin: see `Effect`.
      sources: for each leaf, its index before the function ran, or None for a new leaf.
      fixed: raw arrays inside immutable containers, which must be rebuilt to set them.
      in_place: whether no structure changed.
    """

    __slots__ = ("fixed", "graphdef", "in_place", "origin", "sources")

    def __init__(
        self,
        graphdef: GraphDef,
        origin: tuple[int | None, ...],
        sources: tuple[int | None, ...],
        fixed: frozenset[int],
        in_place: bool,
    ) -> None:
        self.graphdef = graphdef
        self.origin = origin
        self.sources = sources
        self.fixed = fixed
        self.in_place = in_place

    def effect(self, sent: Iterable[int]) -> Effect:
        """The effect that sends these leaves, which include all new ones, and keeps the others."""
        changed = tuple(sent)
        without = frozenset(changed)
        kept = tuple(
            [(i, s) for i, s in enumerate(self.sources) if s is not None and i not in without]
        )
        in_place = self.in_place and self.fixed.isdisjoint(changed)
        return Effect(self.graphdef, self.origin, changed, kept, in_place)

    def only(self, written: Collection[int], values: Sequence[Any], output: Output) -> Outcome:
        """The outcome that sends written and new leaves, given the values of all leaves."""
        sent = [i for i, source in enumerate(self.sources) if source is None or i in written]
        return Outcome(output, [values[i] for i in sent], self.effect(sent))


class Inside:
    """New objects of a structure, with values of the current trace.

    Args:
      graphdef: the structure of the caller's objects.
      values: the values of its leaves.
      tree: whether to undo changes of structure, since only values of variables are propagated.

    Attributes:
      after: the objects after the function ran, set by `leave` and `outcome`.
    """

    after: After

    def __init__(self, graphdef: GraphDef, values: Iterable[Any], tree: bool = False) -> None:
        self.graphdef = graphdef
        self.values = list(values)
        self.roots, self.nodes = build(graphdef, self.values)
        self._contents = [_content(n) for n in self.nodes] if tree else None

    @property
    def variables(self) -> dict[int, Variable[Any]]:
        """The leaves that are variables, by index."""
        found = iter([n for n in self.nodes if isinstance(n, Variable)])
        types = self.graphdef.leaf_types
        return {i: next(found) for i, (cls, _) in enumerate(types) if cls is not None}

    def restore(self) -> None:
        """Undoes changes of structure if they are not propagated."""
        for node, content in zip(self.nodes, self._contents or (), strict=False):
            if isinstance(node, list):
                node[:] = content or ()
            elif content is not None:
                held = node if isinstance(node, dict) else node.__dict__
                held.clear()
                held.update(content)

    def call(self, f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        """Calls `f` on arguments whose holes are filled."""
        return f(*put_back(tuple(args), self.roots), **put_back(kwargs, self.roots))

    def leave(self, output: Output, everything: bool = False) -> Outcome:
        """The outcome of the function: its output and its effect on the objects.

        Args:
          output: the output of the function.
          everything: whether to send the values of all leaves, changed or not.
        """
        roots = list(self.roots)
        output = detach_nodes(output, roots, {id(r): i for i, r in enumerate(roots)})
        return self.outcome(output, After(self, roots), (lambda _: True) if everything else None)

    def outcome(
        self, output: Output, after: After, is_sent: Callable[[int], bool] | None = None
    ) -> Outcome:
        """The outcome for an output whose objects are already replaced by holes.

        Args:
          output: the output, with holes.
          after: the objects after the function ran.
          is_sent: whether to send the value of a leaf, by its index afterwards; None sends the
            changed leaves. Leaves that cannot be kept are always sent.
        """
        self.after = after
        is_sent = after.is_changed if is_sent is None else is_sent
        sent = [i for i, source in enumerate(after.sources) if source is None or is_sent(i)]
        values = [
            after.value(i) if source is None else as_strong_as(after.value(i), self.values[source])
            for i, source in zip(sent, map(after.sources.__getitem__, sent), strict=True)
        ]
        return Outcome(output, values, after.plan.effect(sent))


def _content(node: object) -> list[Any] | dict[Any, Any] | None:
    if isinstance(node, Variable):
        return None
    return (
        list(node)
        if isinstance(node, list)
        else dict(node if isinstance(node, dict) else node.__dict__)
    )


class After:
    """The objects of an `Inside` after the function ran, and the new objects in its output.

    Attributes:
      walk: the walk over the roots, both the old ones and those in the output.
      origin: for each node, its index in the `Inside`, or None for a new node.
      sources: for each leaf, its index before the function ran, or None for a new leaf.
      in_place: whether no structure changed.
    """

    def __init__(self, inside: Inside, roots: Sequence[Any]) -> None:
        inside.restore()
        self._before = inside.values  # not `inside` itself, which refers to this
        self.walk = after = Walk(roots)
        before = inside.nodes
        index_of = {id(node): i for i, node in enumerate(before)}
        self.origin = tuple(index_of.get(id(node)) for node in after.nodes)
        same_tokens = after.graphdef is inside.graphdef
        self.in_place = (
            len(roots) == len(inside.roots)
            and same_tokens
            and len(after.nodes) == len(before)
            and all(map(is_, after.nodes, before))
        )
        variables = inside.variables
        leaf_of = {id(variable): i for i, variable in variables.items()}
        arrays = {id(x): i for i, x in enumerate(inside.values) if i not in variables}
        # In an equal structure, a raw array counts as the one that was in its place before, even if
        # it is a different array.
        self.sources = tuple(
            leaf_of.get(id(leaf))
            if isinstance(leaf, Variable)
            else i
            if self.in_place
            else arrays.get(id(leaf))
            for i, leaf in enumerate(after.leaves)
        )

    @property
    def plan(self) -> Plan:
        """The part that all effects have in common."""
        slots, leaves = self.walk.slots, self.walk.leaves
        return Plan(
            self.walk.graphdef,
            self.origin,
            self.sources,
            frozenset(
                i
                for i, leaf in enumerate(leaves)
                if slots[i] is None and not isinstance(leaf, Variable)
            ),
            self.in_place,
        )

    def written(self) -> frozenset[int]:
        """The leaves that are new or have a different value."""
        return frozenset(filter(self.is_changed, range(len(self.sources))))

    def value(self, i: int) -> Any:
        """The value of a leaf."""
        leaf = self.walk.leaves[i]
        return leaf.raw_value if isinstance(leaf, Variable) else leaf

    def is_changed(self, i: int) -> bool:
        """Whether a leaf is new or has a different value from before."""
        source = self.sources[i]
        return source is None or self.value(i) is not self._before[source]


def apply(bundle: Bundle, outcome: Outcome, structure: bool = True) -> Any:
    """Applies an outcome to the caller's objects; returns the output.

    Args:
      bundle: the caller's objects.
      outcome: the outcome of the function.
      structure: if False, only values are applied, not changes of structure.

    Raises:
      TraceContextError: an object that would change belongs to a different trace level; nothing
        changes then.
    """
    effect = outcome.effect
    if effect.changed or not effect.in_place:
        refuse_other_levels(bundle, effect, values_only=not structure)
    if not structure:
        return _apply_values(bundle, outcome)
    if effect.in_place:
        if effect.changed:
            leaves = bundle.leaves()
            for i, value in zip(effect.changed, outcome.values, strict=True):
                leaf = leaves[i]
                if leaf is None:
                    owner, key = bundle.slots()[i]
                    owner[key] = value
                else:
                    set_raw_value(leaf, value)
        roots = bundle.roots
    else:
        roots = _rebuild(bundle, outcome)
    return put_back(outcome.output, roots)


def _rebuild(bundle: Bundle, outcome: Outcome) -> list[Any]:
    effect = outcome.effect
    old_nodes = bundle.nodes()
    old_values = bundle.values() if effect.kept else []
    values: list[Any] = [None] * effect.graphdef.num_leaves
    for i, value in zip(effect.changed, outcome.values, strict=True):
        values[i] = value
    for i, old in effect.kept:
        values[i] = old_values[old]
    origin = effect.origin

    def reuse(i: int) -> object:
        old = origin[i]
        return None if old is None else old_nodes[old]

    roots, _ = build(effect.graphdef, values, reuse)
    edits.count[0] += 1
    return roots


def _apply_values(bundle: Bundle, outcome: Outcome) -> object:
    """Sets the values of the caller's variables; builds new objects for the output."""
    effect = outcome.effect
    if effect.in_place:
        leaves = bundle.leaves()
        for i, value in zip(effect.changed, outcome.values, strict=True):
            if leaves[i] is not None:
                set_raw_value(leaves[i], value)
        return put_back(outcome.output, bundle.roots)
    bundle_values = bundle.values()
    values: list[Any] = [None] * effect.graphdef.num_leaves
    for i, value in zip(effect.changed, outcome.values, strict=True):
        values[i] = value
    for i, old in effect.kept:
        values[i] = bundle_values[old]
    roots, nodes = build(effect.graphdef, values)
    old_nodes = bundle.nodes()
    for node, origin in zip(nodes, effect.origin, strict=True):
        if origin is not None and isinstance(node, Variable):
            set_raw_value(old_nodes[origin], node.raw_value)
    return put_back(outcome.output, [*bundle.roots, *roots[len(bundle.roots) :]])
