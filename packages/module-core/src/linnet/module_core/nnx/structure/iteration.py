"""Iterates over everything reachable from an object, each object once.

All functions here use the same children (`items_of`): the attributes of a module, and the items of
a list, a dict or a jax pytree. The paths are therefore those of `nnx.state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from ...accepted import accepted
from ...errors import ArgumentError
from ..filters import Filter, to_predicate
from ..nodes.contents import attribute_names, one_level, path_name, sorted_keys
from ..nodes.kinds import ARRAY, DICT, LIST, OBJECT, STATIC, TREE, VARIABLE, kind_of
from ..variable.variable import Variable
from .modes import graph_mode
from .states import Path, path_text

A = TypeVar("A")


def items_of(node: Any) -> list[tuple[Any, Any, Any]]:
    """Triples (key in paths, key in the node, child), one for each child of a node."""
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


def iter_graph(node: object, /, *, graph: bool | None = None) -> Iterator[tuple[Path, Any]]:
    """Yields (path, value) for everything reachable from an object: children first, the root last.

    An object with several paths is yielded once.
    """
    refuse_tree_mode(node, graph)
    return _iter_graph(node, (), {})


def _iter_graph(value: object, path: Path, seen: dict[int, Any]) -> Iterator[tuple[Path, Any]]:
    if kind_of(value) not in (STATIC, ARRAY, TREE):
        if id(value) in seen:
            return
        seen[id(value)] = value  # keeps the object alive, so that its id isn't reused
    for name, _, child in items_of(value):
        yield from _iter_graph(child, (*path, name), seen)
    yield path, value


def iter_references(node: object) -> Iterator[tuple[Path, Variable[Any]]]:
    """Yields (path, variable) for every path to a variable; shared variables have several.

    The variables below an object that is reached again are yielded again, by their first paths.
    """
    return _iter_references(node, (), {})


def _iter_references(
    value: Any, path: Path, below: dict[int, tuple[Any, list[tuple[Path, Variable[Any]]]]]
) -> Iterator[tuple[Path, Variable[Any]]]:
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
        below[id(value)] = value, first  # keeps the object alive, so that its id isn't reused
    for name, _, child in items_of(value):
        again = id(child) in below
        for inner, variable in _iter_references(child, (name,), below):
            yield (*path, *inner), variable
            if not again:
                first.append((inner, variable))


def follow(node: object, path: Path) -> object:
    """The value at a path, or None if the path doesn't exist."""
    for key in path:
        node = next((child for name, _, child in items_of(node) if name == key), None)
    return node


def iter_children(node: object, /, *, graph: bool | None = None) -> Iterator[tuple[Any, Any]]:
    """Yields (name, value) for the objects and variables among an object's attributes."""
    accepted(graph=graph)
    for name, _, value in items_of(node):
        if kind_of(value) in (OBJECT, VARIABLE):
            yield name, value


def find_duplicates(node: object, /, *, only: Filter = ...) -> list[list[Path]]:
    """The paths of each object or variable that has several paths."""
    search = _DuplicateSearch(to_predicate(only))
    search.visit(node, (), frozenset())
    return [paths for paths in search.paths.values() if len(paths) > 1]


class _DuplicateSearch:
    """Finds the paths of each object and variable that passes a predicate."""

    def __init__(self, predicate: Callable[[Path, Any], bool]) -> None:
        self.paths: dict[int, list[Path]] = {}
        self._kept: list[Any] = []  # keeps values alive, so that ids aren't reused
        self._predicate = predicate

    def visit(self, value: object, path: Path, above: frozenset[int]) -> None:
        if kind_of(value) in (OBJECT, VARIABLE):
            known = id(value) in self.paths
            if self._predicate(path, value):
                self.paths.setdefault(id(value), []).append(path)
                self._kept.append(value)
            if id(value) in above or known:
                return
            above = above | {id(value)}
        for name, _, child in items_of(value):
            self.visit(child, (*path, name), above)


def refuse_tree_mode(node: object, graph: bool | None) -> None:
    """Checks that in tree mode nothing is shared."""
    if not graph_mode(graph):
        duplicates = find_duplicates(node)
        if duplicates:
            where = " and ".join([path_text(p) for p in duplicates[0]])
            raise ArgumentError(
                f"Duplicate found at {where}: tree mode (graph=False) allows no shared references.",
                hint="Pass graph=True, or give each place an object of its own.",
            )


def recursive_map(f: Callable[[Path, Any], Any], node: A, /, *, graph: bool | None = None) -> A:
    """A copy of an object with each value replaced by `f(path, value)`, children first."""
    refuse_tree_mode(node, graph)
    made: Any = _RecursiveMap(f).made_of(node, ())
    same: A = made
    return same


class _RecursiveMap:
    """Copies objects, each once, and replaces each value in them with a function's result."""

    def __init__(self, f: Callable[[Path, Any], Any]) -> None:
        self._f = f
        self._done: dict[int, tuple[Any, Any]] = {}  # with the objects, so that ids aren't reused

    def made_of(self, value: object, path: Path) -> object:
        kind = kind_of(value)
        is_node = kind not in (STATIC, ARRAY, TREE)
        if is_node and id(value) in self._done:
            return self._done[id(value)][1]
        holds = kind in (OBJECT, LIST, DICT, TREE)
        made = self._f(path, self._copy(value, kind, path) if holds else value)
        if is_node:
            self._done[id(value)] = value, made
        return made

    def _copy(self, value: Any, kind: int, path: Path) -> object:
        children = [(key, self.made_of(x, (*path, name))) for name, key, x in items_of(value)]
        if kind == LIST:
            return [x for _, x in children]
        if kind == DICT:
            filled = dict(children)
            return {k: filled[k] for k in value}
        if kind == TREE:
            return jax.tree_util.tree_unflatten(one_level(value)[1], [x for _, x in children])
        new = value.__copy__()
        new.__dict__.update(children)
        return new


def set_metadata(node: object, /, *, only: Filter = Variable, **metadata: object) -> None:
    """Adds metadata to the variables of an object that pass a filter."""
    predicate = to_predicate(only)
    for path, value in iter_graph(node):
        if isinstance(value, Variable) and predicate(path, value):
            value.set_metadata(**metadata)
