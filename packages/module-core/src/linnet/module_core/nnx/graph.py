"""Taking modules apart and putting them together: `split`, `merge`, `state`, `update`, `pop`.

All of it rests on the structure (`structure`): a module is a `GraphDef` and leaves; a `State` is
the leaves by path. Nothing copies a variable unless its name says so (`clone`).
"""

# Recursive inner functions are deleted when they are done, which ruff takes for undefined names.
# ruff: noqa: F821
from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from typing import Any, TypeVar, overload

import jax

from ..arrays import copied
from ..errors import ArgumentError, describe
from . import edits
from .bundle import Loose
from .filters import Filter, filters_to_predicates, first_passing, to_predicate
from .kinds import ARRAY, DICT, LIST, OBJECT, STATIC, TREE, VARIABLE, kind_of
from .layout import place_all
from .modes import graph_mode
from .pytree import Pytree, marks_of
from .snapshot import snapshot_of
from .states import (
    FlatState,
    Path,
    State,
    _refuse_remainder,
    from_flat_state,
    leaves_by_path,
    path_text,
)
from .structure import (
    GraphDef,
    attribute_names,
    build,
    one_level,
    path_name,
    refuse_leftover,
    sorted_keys,
)
from .variable import Variable, load

A = TypeVar("A")


def _part_of(node: Any) -> Any:
    return snapshot_of(node) if isinstance(node, Pytree) else Loose([node])


def flat_leaves(node: Any) -> tuple[GraphDef, list[Any]]:
    """The structure of an object and its leaves: variables as they are, and raw arrays."""
    part = _part_of(node)
    if part.graphdef.num_leaves == 0:
        return part.graphdef, []
    if all(x is not None for x in part.leaves):
        return part.graphdef, part.leaves
    values = part.values()
    return part.graphdef, [v if x is None else x for x, v in zip(part.leaves, values, strict=True)]


def refuse_tree_mode(node: Any, graph: bool | None) -> None:
    """In tree mode nothing may be shared."""
    if not graph_mode(graph):
        duplicates = find_duplicates(node)
        if duplicates:
            where = " and ".join([path_text(p) for p in duplicates[0]])
            raise ArgumentError(
                f"Duplicate found at paths {where}: tree mode (graph=False) takes no shared"
                " references.",
                hint="Pass graph=True, or give each place an object of its own.",
            )


def _nested(paths: Sequence[Path], leaves: Sequence[Any]) -> Any:
    if len(paths) == 1 and paths[0] == ():
        return leaves[0]  # of a bare variable, the variable itself
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
def split(node: A, *filters: Filter, graph: bool | None = None) -> Any:
    """Takes an object apart into its structure and the state of its leaves.

    Args:
      node: a module or other nnx object, a variable, or a container of them.
      *filters: one state for each; the first filter that a leaf passes takes it. None: one state.
      graph: False refuses shared references.

    Returns:
      `(graphdef, state, ...)`. The states hold the object's own variables.

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
def state(node: Any, *, graph: bool | None = None) -> State: ...
@overload
def state(node: Any, filter: Filter, /, *, graph: bool | None = None) -> State: ...
@overload
def state(
    node: Any, filter: Filter, /, *filters: Filter, graph: bool | None = None
) -> tuple[State, ...]: ...
def state(node: Any, *filters: Filter, graph: bool | None = None) -> Any:
    """The state of an object's leaves: all, or one state for each filter; the rest is left out."""
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    if not filters:
        return _nested(graphdef.paths, leaves)
    parts = _divide(graphdef.paths, leaves, filters)[:-1]
    found = tuple(_nested(*part) for part in parts)
    return found if len(found) > 1 else found[0]


def variables(node: Any, *filters: Filter, graph: bool | None = None) -> Any:
    """The same as `state`."""
    return state(node, *filters, graph=graph)


def graphdef(node: A, /, *, graph: bool | None = None) -> GraphDef[A]:
    """The structure of an object."""
    refuse_tree_mode(node, graph)
    found: GraphDef[A] = _part_of(node).graphdef
    return found


@overload
def merge(
    graphdef: GraphDef[A], /, *states: Any, copy: bool = False, recreate_variables: bool = True
) -> A: ...
@overload
def merge(
    graphdef: State, /, *states: Any, copy: bool = False, recreate_variables: bool = True
) -> Any: ...
def merge(
    graphdef: Any, /, *states: Any, copy: bool = False, recreate_variables: bool = True
) -> Any:
    """An object of a structure, with the leaves of states.

    Args:
      graphdef: from `split`; or the first of the states that `unpack` returned, which know theirs.
      *states: together the leaves at all paths; or one list of leaves in order. Variables become
        the object's own; bare values are wrapped in variables as the structure says.
      copy: makes new variables and arrays, which share nothing with those of the states.
      recreate_variables: accepted for Flax's programs; variables are used as they are.

    Raises:
      ArgumentError: leaves are missing or too many.
    """
    del recreate_variables
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


def _of_one_split(graphdef: Any) -> GraphDef[Any]:
    """The structure alone of what a context has split, if it refers to nothing split before."""
    from .transforms.contexts import NumberedGraphDef

    if not isinstance(graphdef, NumberedGraphDef):
        raise ArgumentError(
            f"merge takes a GraphDef first, got {type(graphdef).__name__}.",
            hint="It is the first result of nnx.split.",
        )
    if graphdef.before != (0, 0):
        raise ArgumentError(
            f"The structure refers to {graphdef.before[0]} objects that were split before it.",
            hint="Merge all that one split_context has split in one nnx.merge_context of the same"
            " tag, in the same order.",
        )
    return graphdef.graphdef


def _of_one_structure(states: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """The structure that all states of `nnx.unpack` know, and the states."""
    graphdefs = [getattr(type(s), "_graphdef", None) and s._graphdef for s in states]
    for state, graphdef in zip(states, graphdefs, strict=True):
        if graphdef is None:
            raise ArgumentError(
                f"merge takes a GraphDef first, or states that know theirs; got"
                f" {type(state).__name__}.",
                hint="The GraphDef is the first result of nnx.split; nnx.unpack gives states that"
                " know it.",
            )
        if graphdef != graphdefs[0]:
            raise ArgumentError(
                "merge was given states of different structures.",
                hint="Merge what one nnx.unpack of one object returned.",
            )
    return graphdefs[0], tuple(states)


def _leaves_for(graphdef: GraphDef, states: Sequence[Any]) -> list[Any]:
    if len(states) == 1 and isinstance(states[0], (list, tuple)):
        refuse_leftover(graphdef.num_leaves, len(states[0]))
        return list(states[0])
    if graphdef.paths == [()]:  # a variable or an array; filters that it didn't pass gave {}
        found = [s.leaves if isinstance(s, FlatState) else [s] for s in states]
        leaves = [x for part in found for x in part if not (isinstance(x, State) and not x)]
        refuse_leftover(1, len(leaves))
        return leaves
    if len(states) == 1 and isinstance(states[0], State):
        pairs = leaves_by_path(states[0])
        if [path for path, _ in pairs] == graphdef.paths:  # as it was split: in order
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
            f"Incorrect number of leaves, expected {len(paths)} leaves, but got"
            f" {len(given) + len(twice)}. {what}: {listed}.",
            hint="Merge a GraphDef with all the states that it was split from.",
        )
    return [given[p] for p in paths]


def clone(node: A, variables: bool = True, *, arrays: bool = True, graph: bool | None = None) -> A:
    """A copy of an object: new objects, new variables, new arrays.

    It shares nothing with the original, so that a jitted function may donate either of them.

    Args:
      node: the object.
      variables: False keeps the variables themselves.
      arrays: False keeps the arrays, which costs no memory; if the original is donated to a jitted
        function, the copy's arrays are gone as well.
      graph: False refuses shared references.
    """
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    if variables:
        leaves = [_copied_leaf(x, arrays) for x in leaves]
    made: A = build(graphdef, leaves)[0][0]
    return made


def _copied_leaf(leaf: Any, arrays: bool) -> Any:
    if isinstance(leaf, Variable):
        return leaf.copy(copied(leaf.raw_value)) if arrays else leaf.copy()
    return copied(leaf) if arrays else leaf


def update(node: Any, state: Any, /, *states: Any) -> None:
    """Puts the leaves of states into an object, in place.

    Variables that are there keep their identity and take over value and metadata; bare values set
    the value. What is not there yet is added: of a variable a copy, since the state's own belongs
    to another object.

    Args:
      node: the object, or a variable.
      state: a state, or nested mappings; for a variable a variable or a value.
      *states: more of them; of equal paths the last counts. For a variable, empty ones are what
        filters gave that it didn't pass.

    Raises:
      ArgumentError: a leaf is given where the object has an object, or the other way round; nothing
        is changed then.

    Warns:
      UserWarning: values have other shapes than those before, as of a layer of another size.
    """
    plan = _Plan()
    for one in (state, *states):
        if isinstance(one, FlatState):
            one = from_flat_state(one)
        if isinstance(node, Variable):
            if isinstance(one, State):
                if one:
                    raise ArgumentError(
                        f"Expected a value for the {type(node).__name__}, but got a State of"
                        f" {', '.join([repr(name) for name in one])}.",
                        hint="nnx.state of a variable is the variable: update it with another one.",
                    )
            else:
                plan.leaf(node, one, ())
        elif isinstance(one, Mapping):
            plan.inner(node, one._mapping if isinstance(one, State) else one, ())
        else:
            raise ArgumentError(f"update takes states, got {type(one).__name__}.")
    plan.carry_out()


class _Plan:
    """What an update will do. All of it is found out, and refused, before anything is done."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], Any]] = []
        self._other_shapes: list[str] = []

    def carry_out(self) -> None:
        if self._other_shapes:
            more = len(self._other_shapes) - 6
            warnings.warn(
                f"nnx.update gives variables values of other shapes than they had:"
                f" {', '.join(self._other_shapes[:6])}{f' and {more} more' if more > 0 else ''}. Is"
                " this the state of a model of another size?",
                stacklevel=3,
            )
        for step in self._steps:
            step()

    def leaf(self, variable: Variable[Any], new: Any, path: Path) -> None:
        value = new.raw_value if isinstance(new, Variable) else new
        old_shape = getattr(variable.raw_value, "shape", None)
        new_shape = getattr(value, "shape", None)
        if old_shape is not None and new_shape is not None and not _fits(old_shape, new_shape):
            self._other_shapes.append(f"{path_text(path)} {old_shape}, now {new_shape}")
        edits.check_trace(variable._nnx_stamp, variable._nnx_description)
        if isinstance(new, Variable):
            if new is not variable:
                self._steps.append(functools.partial(variable.update_from_state, new))
        else:
            self._steps.append(functools.partial(load, variable, new))

    def inner(self, node: Any, new: Mapping[Any, Any], path: Path) -> None:
        for key, value in new.items():
            self._child(node, key, value, (*path, key))

    def _child(self, node: Any, key: Any, value: Any, path: Path) -> None:
        present = _child(node, key)
        if present is _ABSENT:
            self._set(node, key, _own(value))
            return
        if isinstance(present, Variable):
            if isinstance(value, Mapping):
                raise ArgumentError(f"Expected a leaf for {path_text(path)}, but got several.")
            self.leaf(present, value, path)
            return
        kind = kind_of(present)
        if isinstance(value, Mapping):
            if kind in (STATIC, ARRAY):
                self._set(node, key, _own(value))
            elif kind == TREE:
                children, structure, keys = one_level(present)
                holder = dict(zip(keys, children, strict=True))
                self.inner(holder, value, path)
                self._steps.append(
                    lambda: _set_child(
                        node,
                        key,
                        jax.tree_util.tree_unflatten(structure, [holder[k] for k in keys]),
                    )
                )
            else:
                self.inner(present, value, path)
        elif kind in (OBJECT, LIST, DICT):
            raise ArgumentError(
                f"Expected a subgraph for {path_text(path)!r}, but got: {value!r}",
                hint="The object has an object there; give a nested state.",
            )
        else:
            self._set(node, key, _own(value))

    def _set(self, node: Any, key: Any, value: Any) -> None:
        self._steps.append(functools.partial(_set_child, node, key, value))


def _fits(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether shapes are the same, but for axes in front: of copies, or of steps."""
    n = min(len(old), len(new))
    return old[len(old) - n :] == new[len(new) - n :]


def _own(value: Any) -> Any:
    """What is added to an object: mappings as dicts, variables as copies."""
    if isinstance(value, Variable):
        return value.copy()
    if isinstance(value, Mapping):
        return {k: _own(v) for k, v in value.items()}
    return value


_ABSENT = object()


def _child(node: Any, key: Any) -> Any:
    if isinstance(node, Pytree):
        return node.__dict__.get(_attribute(node, key), _ABSENT)
    try:
        return node[key]
    except (KeyError, IndexError):
        return _ABSENT


def _attribute(node: Any, key: Any) -> Any:
    """The attribute's name that stands for a key of a path."""
    return str(key) if isinstance(key, int) else key


def _set_child(node: Any, key: Any, value: Any) -> None:
    if isinstance(node, MutableSequence) and isinstance(key, int):
        if key == len(node):
            node.append(value)
        else:
            node[key] = value
    elif isinstance(node, Pytree):
        setattr(node, _attribute(node, key), value)
    else:
        node[key] = value


def pop(node: Any, *filters: Filter) -> Any:
    """Removes the variables and arrays that pass filters from an object, and returns them.

    Those in lists and tuples leave None behind, so that the others keep their places, and
    `nnx.update` with what was popped puts it back where it was.

    Args:
      node: the object.
      *filters: one state is returned for each; the first filter that a leaf passes takes it.

    Raises:
      ArgumentError: there is no filter, or the object is itself a variable or an array.
    """
    if not filters:
        raise ArgumentError("Expected at least one filter.")
    if kind_of(node) in (VARIABLE, ARRAY, STATIC):
        raise ArgumentError(
            f"pop takes an object that holds variables, got {describe(node)}.",
            hint="Pop from the module or the container that holds it.",
        )
    predicates = filters_to_predicates(filters)
    found: list[list[tuple[Path, Any]]] = [[] for _ in filters]
    seen: dict[int, Any] = {}  # with the objects, so that no identity is used twice
    steps: list[Callable[[], Any]] = []

    def visit(value: Any, path: Path) -> Any:
        """What is left of a value: itself, None where it is popped, or a tree without parts."""
        kind = kind_of(value)
        if kind in (VARIABLE, ARRAY):
            i = first_passing(predicates, path, value)
            if i == len(predicates):
                return value
            if kind == ARRAY or id(value) not in seen:
                found[i].append((path, value))
                seen[id(value)] = value
            return _POPPED
        if kind == STATIC:
            return value
        if kind == TREE:
            left = [(x, visit(x, (*path, name))) for name, _, x in _items(value)]
            if all(x is y for x, y in left):
                return value
            children = [None if y is _POPPED else y for _, y in left]
            return jax.tree_util.tree_unflatten(one_level(value)[1], children)
        if id(value) not in seen:
            seen[id(value)] = value
            for name, key, child in _items(value):
                if _is_static(value, key):
                    continue
                new = visit(child, (*path, name))
                if new is _POPPED:
                    steps.append(functools.partial(_remove, value, name, key))
                elif new is not child:
                    steps.append(functools.partial(_set_child, value, name, new))
        return value

    left = visit(node, ())
    del visit  # it refers to itself, and would keep all nodes
    if left is not node:
        raise ArgumentError(
            f"pop takes variables out of an object, which a {type(node).__name__} is not: it can't"
            " be changed.",
            hint="Pop from a list, a dict or a module that holds it.",
        )
    for step in steps:
        step()
    states = tuple([from_flat_state(part) for part in found])
    return states if len(states) > 1 else states[0]


_POPPED = object()


def _is_static(owner: Any, key: Any) -> bool:
    return isinstance(owner, Pytree) and marks_of(owner).get(key) is False


def _remove(owner: Any, name: Any, key: Any) -> None:
    if isinstance(owner, MutableSequence) and isinstance(name, int):
        owner[name] = None  # the places of the others stay
    elif isinstance(owner, Pytree):
        delattr(owner, key)
    else:
        del owner[key]


def _items(node: Any) -> list[tuple[Any, Any, Any]]:
    """Of each child its key in paths, its key in the node, and itself."""
    kind = kind_of(node)
    if kind == OBJECT:
        attributes = node.__dict__
        return [(path_name(type(node), n), n, attributes[n]) for n in attribute_names(node)]
    if kind == LIST:
        return [(i, i, x) for i, x in enumerate(node)]
    if kind == DICT:
        return [(k, k, node[k]) for k in sorted_keys(node)]
    if kind == TREE:
        children, _, keys = one_level(node)
        return list(zip(keys, keys, children, strict=True))
    return []


def iter_graph(node: Any, /, *, graph: bool | None = None) -> Iterator[tuple[Path, Any]]:
    """Everything that can be reached, as (path, value): children first, the root last.

    An object that is reached several times comes once.
    """
    refuse_tree_mode(node, graph)
    return _iter_graph(node, (), {})


def _iter_graph(value: Any, path: Path, seen: dict[int, Any]) -> Iterator[tuple[Path, Any]]:
    if kind_of(value) not in (STATIC, ARRAY, TREE):
        if id(value) in seen:
            return
        seen[id(value)] = value  # with the object, so that no identity is used twice
    for name, _, child in _items(value):
        yield from _iter_graph(child, (*path, name), seen)
    yield path, value


def iter_children(node: Any, /, *, graph: bool | None = None) -> Iterator[tuple[Any, Any]]:
    """The objects and variables among the attributes of an object, by name."""
    del graph
    for name, _, value in _items(node):
        if kind_of(value) in (OBJECT, VARIABLE):
            yield name, value


def find_duplicates(node: Any, /, *, only: Filter = ...) -> list[list[Path]]:
    """For each object or variable that is reached on several paths, these paths."""
    predicate = to_predicate(only)
    paths: dict[int, list[Path]] = {}
    kept: list[Any] = []  # so that no identity is used twice

    def visit(value: Any, path: Path, above: frozenset[int]) -> None:
        kind = kind_of(value)
        if kind in (OBJECT, VARIABLE):
            known = id(value) in paths
            if predicate(path, value):
                paths.setdefault(id(value), []).append(path)
                kept.append(value)
            if id(value) in above or known:
                return
            above = above | {id(value)}
        for name, _, child in _items(value):
            visit(child, (*path, name), above)

    visit(node, (), frozenset())
    del visit  # it refers to itself, and would keep all nodes
    return [p for p in paths.values() if len(p) > 1]


def map(
    f: Callable[[Path, Any], Any],
    node: A,
    /,
    *,
    graph: bool | None = None,
    recreate_variables: bool = True,
) -> A:
    """A copy of an object whose leaves are `f(path, leaf)`.

    Args:
      f: gets a path and a variable or array.
      node: the object; it stays as it is.
      graph: False refuses shared references.
      recreate_variables: puts a value that `f` returns for a variable into a new one like it; False
        puts the value itself in the variable's place.
    """
    refuse_tree_mode(node, graph)
    graphdef, leaves = flat_leaves(node)
    new = [f(p, x) for p, x in zip(graphdef.paths, leaves, strict=True)]
    made: A = build(graphdef, new, recreate=recreate_variables)[0][0]
    return made


def recursive_map(f: Callable[[Path, Any], Any], node: Any, /, *, graph: bool | None = None) -> Any:
    """A copy of an object with `f(path, value)` in the place of everything, children first."""
    refuse_tree_mode(node, graph)
    done: dict[int, tuple[Any, Any]] = {}  # with the objects, so that no identity is used twice

    def visit(value: Any, path: Path) -> Any:
        kind = kind_of(value)
        is_node = kind not in (STATIC, ARRAY, TREE)
        if is_node and id(value) in done:
            return done[id(value)][1]
        new = value
        if kind in (OBJECT, LIST, DICT, TREE):
            children = [(key, visit(x, (*path, name))) for name, key, x in _items(value)]
            if kind == LIST:
                new = [x for _, x in children]
            elif kind == DICT:
                filled = dict(children)
                new = {k: filled[k] for k in value}
            elif kind == TREE:
                new = jax.tree_util.tree_unflatten(one_level(value)[1], [x for _, x in children])
            else:
                new = value.__copy__()
                new.__dict__.update(children)
        made = f(path, new)
        if is_node:
            done[id(value)] = value, made
        return made

    made = visit(node, ())
    del visit  # it refers to itself, and would keep all nodes
    return made


def pure(tree: A) -> A:
    """A state or tree with bare values in the place of its variables."""
    made: A = jax.tree_util.tree_map(
        lambda x: x.raw_value if isinstance(x, Variable) else x,
        tree,
        is_leaf=lambda x: isinstance(x, Variable),
    )
    return made


def as_pure(tree: A) -> A:
    """An object with bare values in the place of its variables."""
    made: A = recursive_map(
        lambda _, x: x.raw_value if isinstance(x, Variable) else x, tree, graph=True
    )
    return made


def set_metadata(node: Any, /, *, only: Filter = Variable, **metadata: Any) -> None:
    """Adds metadata to the variables of an object that pass a filter."""
    predicate = to_predicate(only)
    for path, value in iter_graph(node):
        if isinstance(value, Variable) and predicate(path, value):
            value.set_metadata(**metadata)
