"""Splits objects and merges them again: `split`, `merge`, `state`, `clone`.

A module consists of its structure, a `GraphDef` (see `structure`), and its leaves; a `State` holds
the leaves by path. Functions copy variables only if their name says so (`clone`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

import jax

from ...accepted import accepted
from ...arrays import copied
from ...errors import ArgumentError, counted
from ..filters import Filter, filters_to_predicates, first_passing
from ..nodes.pytree import Pytree
from ..variable.variable import Variable, place_all
from .bundle import Loose
from .graphdef import GraphDef, NumberedGraphDef
from .iteration import recursive_map, refuse_tree_mode
from .snapshot import Snapshot, snapshot_of
from .states import (
    FlatState,
    Path,
    State,
    _refuse_remainder,
    from_flat_state,
    leaves_by_path,
    path_text,
)
from .structure import build, refuse_leftover

A = TypeVar("A")


def _part_of(node: object) -> Snapshot | Loose:
    return snapshot_of(node) if isinstance(node, Pytree) else Loose([node])


def flat_leaves(node: object) -> tuple[GraphDef, list[Any]]:
    """The structure of an object and its leaves: the variables themselves, and raw arrays."""
    part = _part_of(node)
    if part.graphdef.num_leaves == 0:
        return part.graphdef, []
    if all(x is not None for x in part.leaves):
        return part.graphdef, part.leaves
    values = part.values()
    return part.graphdef, [v if x is None else x for x, v in zip(part.leaves, values, strict=True)]


def _nested(paths: Sequence[Path], leaves: Sequence[Any]) -> Any:
    if len(paths) == 1 and paths[0] == ():
        return leaves[0]  # the state of a bare variable is the variable itself
    return from_flat_state(zip(paths, leaves, strict=True))


def _divide(
    paths: Sequence[Path], leaves: Sequence[Any], filters: Sequence[Filter]
) -> list[tuple[list[Path], list[Any]]]:
    predicates = filters_to_predicates(filters)
    parts: list[tuple[list[Path], list[Any]]] = [([], []) for _ in range(len(filters) + 1)]
    for path, leaf in zip(paths, leaves, strict=True):
        part = parts[first_passing(predicates, path, leaf)]
        part[0].append(path)
        part[1].append(leaf)
    return parts


@overload
def split(node: A, *, graph: bool | None = None) -> tuple[GraphDef[A], State]: ...
@overload
def split(
    node: A, filter: Filter, /, *, graph: bool | None = None
) -> tuple[GraphDef[A], State]: ...
@overload
def split(
    node: A, filter: Filter, second: Filter, /, *, graph: bool | None = None
) -> tuple[GraphDef[A], State, State]: ...
@overload
def split(
    node: A, filter: Filter, second: Filter, third: Filter, /, *, graph: bool | None = None
) -> tuple[GraphDef[A], State, State, State]: ...
@overload
def split(
    node: A, filter: Filter, /, *filters: Filter, graph: bool | None = None
) -> tuple[GraphDef[A], State, *tuple[State, ...]]: ...
def split(node: A, *filters: Filter, graph: bool | None = None) -> tuple[Any, ...]:
    """Splits an object into its structure and the state of its leaves.

    Args:
      node: a module or other nnx object, a variable, or a container of them.
      *filters: one state is returned for each, with the leaves that pass it but no earlier one.
        Without filters, one state has all leaves.
      graph: if False, shared references raise an error.

    Returns:
      `(graphdef, state, ...)`. The states hold the variables of the object, not copies.

    Raises:
      ArgumentError: a leaf passes no filter.

    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self):
    ...         self.factor = nnx.Param(2.0)
    >>> scale = Scale()
    >>> graphdef, state = split(scale)
    >>> merge(graphdef, state).factor is scale.factor
    True
    """
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    if not filters:
        return graphdef, _nested(graphdef.paths, leaves)
    *parts, rest = _divide(graphdef.paths, leaves, filters)
    _refuse_remainder(FlatState.from_sorted_keys_values(tuple(rest[0]), rest[1]))
    return graphdef, *(_nested(*part) for part in parts)


@overload
def state(node: object, *, graph: bool | None = None) -> State: ...
@overload
def state(node: object, filter: Filter, /, *, graph: bool | None = None) -> State: ...
@overload
def state(
    node: object, filter: Filter, /, *filters: Filter, graph: bool | None = None
) -> tuple[State, ...]: ...
def state(node: object, *filters: Filter, graph: bool | None = None) -> State | tuple[State, ...]:
    """The state of all leaves of an object, or one state per filter, without the other leaves."""
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    if not filters:
        everything: State = _nested(graphdef.paths, leaves)
        return everything
    parts = _divide(graphdef.paths, leaves, filters)[:-1]
    found: tuple[State, ...] = tuple(_nested(*part) for part in parts)
    return found if len(found) > 1 else found[0]


@overload
def variables(node: object, *, graph: bool | None = None) -> State: ...
@overload
def variables(node: object, filter: Filter, /, *, graph: bool | None = None) -> State: ...
@overload
def variables(
    node: object, filter: Filter, /, *filters: Filter, graph: bool | None = None
) -> tuple[State, ...]: ...
def variables(
    node: object, *filters: Filter, graph: bool | None = None
) -> State | tuple[State, ...]:
    """An alias for `state`."""
    return state(node, *filters, graph=graph)


def graphdef(node: A, /, *, graph: bool | None = None) -> GraphDef[A]:
    """The structure of an object."""
    refuse_tree_mode(node, graph)
    found: GraphDef[A] = _part_of(node).graphdef
    return found


@overload
def merge(
    graphdef: GraphDef[A], /, *states: object, copy: bool = False, recreate_variables: bool = True
) -> A: ...
@overload
def merge(
    graphdef: State, /, *states: object, copy: bool = False, recreate_variables: bool = True
) -> Any: ...
def merge(
    graphdef: object, /, *states: object, copy: bool = False, recreate_variables: bool = True
) -> object:
    """Builds an object from its structure and the leaves of states.

    Args:
      graphdef: from `split`; or the first of the states from `unpack`, which know their structure.
      *states: states that together have a leaf at each path, or one list of leaves in order.
        Variables become the object's; bare values are wrapped in variables of the structure.
      copy: whether to make new variables and arrays, which share nothing with those of the states.
      recreate_variables: accepted for Flax programs; variables are used as they are.

    Raises:
      ArgumentError: leaves are missing, or there are too many.
    """
    accepted(recreate_variables=recreate_variables)
    if isinstance(graphdef, State):
        graphdef, states = _of_one_structure((graphdef, *states))
    if not isinstance(graphdef, GraphDef):
        graphdef = _of_one_split(graphdef)
    leaves = _leaves_for(graphdef, states)
    if copy:
        leaves = [_copied_leaf(x, arrays=True) for x in leaves]
    roots, nodes = build(graphdef, leaves)
    place_all(nodes)
    return roots[0]


def _of_one_split(graphdef: object) -> GraphDef[Any]:
    """The structure from a context's split, if it doesn't refer to an earlier split."""
    if not isinstance(graphdef, NumberedGraphDef):
        raise ArgumentError(
            f"The first argument of merge must be a GraphDef, got {type(graphdef).__name__}.",
            hint="It is the first result of nnx.split.",
        )
    if graphdef.before != (0, 0):
        raise ArgumentError(
            f"The structure refers to {counted(graphdef.before[0], 'object')} split before it.",
            hint=(
                "In one nnx.merge_context with the same tag, merge everything that one "
                "split_context split, in the same order."
            ),
        )
    return graphdef.graphdef


def _of_one_structure(states: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """The common structure of states from `nnx.unpack`, and the states."""
    graphdefs = [getattr(type(s), "_graphdef", None) and s._graphdef for s in states]
    for state, graphdef in zip(states, graphdefs, strict=True):
        if graphdef is None:
            raise ArgumentError(
                "The first argument of merge must be a GraphDef, or a state that knows its own; "
                f"got {type(state).__name__}.",
                hint="The GraphDef is the first result of nnx.split; nnx.unpack gives states that"
                " know it.",
            )
        if graphdef != graphdefs[0]:
            raise ArgumentError(
                "merge was given states of different structures.",
                hint="Merge the states that one call to nnx.unpack returned.",
            )
    return graphdefs[0], tuple(states)


def _leaves_for(graphdef: GraphDef, states: Sequence[Any]) -> list[Any]:
    if len(states) == 1 and isinstance(states[0], (list, tuple)):
        refuse_leftover(graphdef.num_leaves, len(states[0]))
        return list(states[0])
    if graphdef.paths == [()]:  # a variable or array; states of filters it didn't pass are empty
        found = [s.leaves if isinstance(s, FlatState) else [s] for s in states]
        leaves = [x for part in found for x in part if not (isinstance(x, State) and not x)]
        refuse_leftover(1, len(leaves))
        return leaves
    if len(states) == 1 and isinstance(states[0], State):
        pairs = leaves_by_path(states[0])
        if [path for path, _ in pairs] == graphdef.paths:  # in order, as from a split
            return [leaf for _, leaf in pairs]
    given: dict[Path, Any] = {}
    twice: list[Path] = []
    for one in states:
        if not isinstance(one, (Mapping, FlatState)):
            raise ArgumentError(
                f"merge takes states, got {type(one).__name__}.",
                hint="States come from nnx.split or nnx.state.",
            )
        pairs = list(one) if isinstance(one, FlatState) else leaves_by_path(one)
        twice.extend([path for path, _ in pairs if path in given])
        given.update(pairs)
    paths = graphdef.paths
    missing = [p for p in paths if p not in given]
    if missing or twice or len(given) != len(paths):
        unknown = sorted(set(given) - set(paths), key=str)
        what = "Missing" if missing else "Unknown" if unknown else "In several states"
        listed = ", ".join([path_text(p) for p in (missing or unknown or twice)[:6]])
        raise ArgumentError(
            "Incorrect number of leaves: the states have"
            f" {counted(len(given) + len(twice), 'leaf', 'leaves')}, the GraphDef {len(paths)}."
            f" {what}: {listed}.",
            hint="Merge a GraphDef with all the states that nnx.split returned with it.",
        )
    return [given[p] for p in paths]


def clone(node: A, variables: bool = True, *, arrays: bool = True, graph: bool | None = None) -> A:
    """A copy of an object: new objects, new variables, new arrays.

    It shares nothing with the original, so a jitted function may donate either of them.

    Args:
      node: the object.
      variables: if False, the copy has the same variables.
      arrays: if False, the copy has the same arrays, which costs no memory. If the original is
        then donated to a jitted function, the copy's arrays are deleted, too.
      graph: if False, shared references raise an error.
    """
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    if variables:
        leaves = [_copied_leaf(x, arrays) for x in leaves]
    made: A = build(graphdef, leaves)[0][0]
    return made


def _copied_leaf(leaf: object, arrays: bool) -> object:
    if isinstance(leaf, Variable):
        return leaf.copy(copied(leaf.raw_value)) if arrays else leaf.copy()
    return copied(leaf) if arrays else leaf


def with_leaves(tree: A, f: Callable[[Any], Any]) -> A:
    """A copy of a tree of objects, with new values of variables and new arrays.

    Args:
      tree: objects, variables and arrays, in any jax pytree.
      f: gets a variable and returns its new value; or gets an array and replaces it.
    """

    def new(leaf: object) -> object:
        return leaf.copy(f(leaf)) if isinstance(leaf, Variable) else f(leaf)

    made: A
    if isinstance(tree, Pytree):
        graphdef, leaves = flat_leaves(tree)
        made = build(graphdef, [new(x) for x in leaves])[0][0]
        return made
    made = jax.tree.map(
        lambda x: with_leaves(x, f) if isinstance(x, Pytree) else new(x),
        tree,
        is_leaf=lambda x: isinstance(x, (Pytree, Variable)),
    )
    return made


def map(
    f: Callable[[Path, Any], Any],
    node: A,
    /,
    *,
    graph: bool | None = None,
    recreate_variables: bool = True,
) -> A:
    """A copy of an object with `f(path, leaf)` in place of each leaf.

    Args:
      f: a function of a path and a variable or array.
      node: the object; it doesn't change.
      graph: if False, shared references raise an error.
      recreate_variables: whether to wrap a value that `f` returns for a variable in a new variable
        like it; if False, the value replaces the variable.
    """
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    new = [f(p, x) for p, x in zip(graphdef.paths, leaves, strict=True)]
    made: A = build(graphdef, new, recreate=recreate_variables)[0][0]
    return made


def pure(tree: A) -> A:
    """A state or tree with bare values in place of its variables."""
    made: A = jax.tree_util.tree_map(
        lambda x: x.raw_value if isinstance(x, Variable) else x,
        tree,
        is_leaf=lambda x: isinstance(x, Variable),
    )
    return made


def as_pure(tree: A) -> A:
    """An object with bare values in place of its variables."""
    made: A = recursive_map(
        lambda _, x: x.raw_value if isinstance(x, Variable) else x, tree, graph=True
    )
    return made
