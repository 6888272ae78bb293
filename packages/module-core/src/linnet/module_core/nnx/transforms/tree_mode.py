"""The meaning of `graph=False` and `graph_updates=False` for a transform.

With `graph_updates=False`, only the values of variables reach the caller, and objects keep their
structure. An output that shares variables with the arguments would be a change of structure, so it
raises an error; the value of a loop is a new object with the variables that the loop started with.
Specs by filter raise an error, too: they treat the leaves of one object differently, so these
leaves don't form one tree. With `graph=False`, in addition, nothing may be shared among the
arguments or within the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax

from ...errors import ArgumentError
from ...typing import Output
from ..nodes.kinds import DICT, LIST, OBJECT, REFERENCE, TREE
from ..structure.bundle import Bundle, Hole, is_node, put_back
from ..structure.effect import Effect, Outcome, apply
from ..structure.graphdef import GraphDef
from ..structure.iteration import find_duplicates
from ..structure.modes import graph_mode, graph_updates_mode
from ..structure.states import path_text
from ..structure.structure import build
from .prefixes import FilterMapping, is_spec_leaf

T = TypeVar("T")


class Modes:
    """The modes selected by the keywords `graph` and `graph_updates`; None is the current mode.

    Attributes:
      graph: whether objects may be shared.
      structure: whether changes of structure reach the caller.
      tree: the opposite of `structure`; gradients of a module are then modules, too.
    """

    __slots__ = ("graph", "structure", "tree")

    def __init__(self, graph: bool | None, graph_updates: bool | None) -> None:
        self.graph = graph_mode(graph)
        self.structure = self.graph and graph_updates_mode(graph_updates)
        self.tree = not self.structure

    def check(self, arguments: object, name: str) -> None:
        """Checks that, with `graph=False`, the arguments share no objects."""
        if self.graph:
            return
        nodes = [x for x in jax.tree_util.tree_leaves(arguments, is_leaf=is_node) if is_node(x)]
        found = find_duplicates(nodes)
        if found:
            where = " and ".join([path_text(p) for p in found[0]])
            raise ArgumentError(
                f"Duplicate found: one Variable is at {where}, which nnx.{name} does not allow "
                "with graph=False.",
                hint="Leave graph out, or give each place an object of its own (nnx.clone).",
            )

    def refuse_filters(self, specs: object, what: str) -> None:
        """Checks that in tree mode no spec treats the leaves of an object differently."""
        if self.structure:
            return
        for spec in jax.tree_util.tree_leaves(specs, is_leaf=is_spec_leaf):
            if isinstance(spec, FilterMapping) or hasattr(spec, "argnum"):
                raise ArgumentError(
                    f"A {type(spec).__name__} in {what} treats variables of one object "
                    "differently, which is not possible with graph=False or graph_updates=False.",
                    hint=(
                        "Leave both out, or split the object (nnx.split) and give each of its "
                        "states one entry."
                    ),
                )

    def apply(self, bundle: Bundle, outcome: Outcome, name: str) -> Any:
        """Applies an outcome to the caller's objects; returns the output."""
        if self.structure:
            return apply(bundle, outcome)
        self._check_output(outcome.output, outcome.effect, len(bundle.roots), name)
        return apply(bundle, outcome, structure=False)

    def carried(self, bundle: Bundle, outcome: Outcome, value: T) -> T:
        """The value that a loop carried: in tree mode, new objects with the same variables."""
        values = bundle.values()
        for i, new in zip(outcome.effect.changed, outcome.values, strict=True):
            if i < len(values):  # later ones are leaves of other outputs
                values[i] = new
        leaves = [
            new if variable is None else variable
            for variable, new in zip(bundle.leaves(), values, strict=True)
        ]
        return put_back(value, build(bundle.graphdef, leaves)[0])

    def _check_output(self, output: Output, effect: Effect, count: int, name: str) -> None:
        found, _ = jax.tree_util.tree_flatten_with_path(output, is_leaf=_is_hole)
        places = [(jax.tree_util.keystr(path), x.index) for path, x in found if _is_hole(x)]
        references = _references(effect.graphdef, count)
        seen: set[int] = set()
        for place, root in places:
            inside = references.get(root, ())
            if root < count or any(effect.origin[i] is not None for i in inside):
                what = "is, or shares variables with, an argument"
            elif not self.graph and (root in seen or inside):
                what = "shares variables with another, or within itself"
            else:
                seen.add(root)
                continue
            keyword = "graph_updates" if self.graph else "graph"
            raise ArgumentError(
                f"The object in the output{place} {what}, which nnx.{name} does not allow with "
                f"{keyword}=False.",
                hint=f"Leave {keyword} out, or return a copy (nnx.clone).",
            )


def _is_hole(x: object) -> bool:
    return type(x) is Hole


def _references(graphdef: GraphDef, count: int) -> dict[int, Sequence[int]]:
    """For each root from `count` on, the nodes that it refers to but doesn't define."""
    found: dict[int, list[int]] = {}
    pending = 0  # the number of tokens left in the root
    root = -1
    for token in graphdef.tokens:
        if pending == 0:
            root += 1
            pending = 1
        pending -= 1
        kind = token[0]
        if kind == REFERENCE and root >= count:
            found.setdefault(root, []).append(token[1])
        elif kind in (OBJECT, TREE):
            pending += len(token[2])
        elif kind == LIST:
            pending += token[1]
        elif kind == DICT:
            pending += len(token[1])
    return {r: tuple(nodes) for r, nodes in found.items()}
