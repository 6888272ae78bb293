"""Looking through an object: all that can be reached from it, each object once.

Everything here sees an object the same way (`items_of`): of a module its attributes, of a list, a
dict or a tree of jax its items. So the paths are those of `nnx.state`.
"""

# Recursive inner functions are deleted when they are done, which ruff takes for undefined names.
# ruff: noqa: F821
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax

from ...errors import ArgumentError
from ..filters import Filter, to_predicate
from ..nodes.contents import attribute_names, one_level, path_name, sorted_keys
from ..nodes.kinds import ARRAY, DICT, LIST, OBJECT, STATIC, TREE, VARIABLE, kind_of
from ..variable.variable import Variable
from .modes import graph_mode
from .states import Path, path_text


def items_of(node: Any) -> list[tuple[Any, Any, Any]]:
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
    for name, _, child in items_of(value):
        yield from _iter_graph(child, (*path, name), seen)
    yield path, value


def iter_references(node: Any) -> Iterator[tuple[Path, Variable[Any]]]:
    """Every path on which a variable is reached, with the variable: of a shared one, several.

    What is below an object that is reached once more comes once more, too, by its first paths.
    """
    below: dict[int, tuple[Any, list[tuple[Path, Variable[Any]]]]] = {}

    def visit(value: Any, path: Path) -> Iterator[tuple[Path, Variable[Any]]]:
        kind = kind_of(value)
        if kind == VARIABLE:
            yield path, value
        known = below.get(id(value))
        if known is not None:
            for inner, variable in known[1]:
                yield (*path, *inner), variable
            return
        first: list[tuple[Path, Variable[Any]]] = []
        if kind in (OBJECT, LIST, DICT):
            below[id(value)] = value, first  # with the object, so that no identity is used twice
        for name, _, child in items_of(value):
            again = id(child) in below
            for inner, variable in visit(child, (name,)):
                yield (*path, *inner), variable
                if not again:
                    first.append((inner, variable))

    yield from visit(node, ())
    del visit  # it refers to itself, and would keep all nodes


def follow(node: Any, path: Path) -> Any:
    """What a path leads to; None if it leads nowhere."""
    for key in path:
        node = next((child for name, _, child in items_of(node) if name == key), None)
    return node


def iter_children(node: Any, /, *, graph: bool | None = None) -> Iterator[tuple[Any, Any]]:
    """The objects and variables among the attributes of an object, by name."""
    del graph
    for name, _, value in items_of(node):
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
        for name, _, child in items_of(value):
            visit(child, (*path, name), above)

    visit(node, (), frozenset())
    del visit  # it refers to itself, and would keep all nodes
    return [p for p in paths.values() if len(p) > 1]


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
            children = [(key, visit(x, (*path, name))) for name, key, x in items_of(value)]
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


def set_metadata(node: Any, /, *, only: Filter = Variable, **metadata: Any) -> None:
    """Adds metadata to the variables of an object that pass a filter."""
    predicate = to_predicate(only)
    for path, value in iter_graph(node):
        if isinstance(value, Variable) and predicate(path, value):
            value.set_metadata(**metadata)
