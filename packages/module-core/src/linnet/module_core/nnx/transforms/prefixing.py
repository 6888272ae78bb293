"""`prefix`: builds a spec for each leaf of a tree of objects, from filters.

In graph mode, an object is represented by a `StateAxes` of the paths of its leaves, which nnx's
transforms take as the object's spec. In tree mode, it is represented by an object of the same class
with specs as the values of its variables; since modules are pytrees, this is a prefix for jax's
transforms, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from ...errors import ArgumentError, describe
from ..filters import PathIn, filters_to_predicates, first_passing
from ..nodes.contents import attribute_names, holds_data, key_of
from ..nodes.kinds import OBJECT, VARIABLE, kind_of
from ..nodes.pytree import Pytree, set_mark
from ..structure.bundle import is_node
from ..structure.graph import flat_leaves
from ..structure.iteration import refuse_tree_mode
from ..structure.modes import graph_mode
from ..structure.states import Path, path_text
from ..structure.structure import build
from .vmap import StateAxes


def prefix(
    node: object,
    filter_map: Mapping[Any, Any] | Callable[[Path, Any], Any],
    /,
    *,
    graph: bool | None = None,
) -> Any:
    """A prefix of a tree of objects, for a transform: the value that filters give each leaf.

    Args:
      node: a module, variable or array, or a container of them.
      filter_map: a mapping from filters to values, where the first filter that a leaf passes
        counts; or a function from path and leaf to the value.
      graph: if True, objects may be shared, and the prefix is for nnx's transforms; if False, it is
        for jax's transforms, and for nnx's in tree mode. None uses the current mode.

    Raises:
      ArgumentError: a leaf passes no filter.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> model = nnx.Dict(w=nnx.Param(jnp.ones((4, 3))), n=nnx.Variable(2.0))
    >>> axes = nnx.prefix(model, {nnx.Param: 0, ...: None})
    >>> nnx.vmap(lambda m: m.w * m.n, in_axes=(axes,))(model).shape
    (4, 3)
    """
    refuse_tree_mode(node, graph)
    value_of = _by_filters(filter_map) if isinstance(filter_map, Mapping) else filter_map
    if not callable(value_of):
        raise ArgumentError(
            f"prefix takes a mapping of filters, or a function, got {describe(filter_map)}.",
            hint="Write nnx.prefix(model, {nnx.Param: 0, ...: None}).",
        )
    make = _spec if graph_mode(graph) else _object
    return jax.tree_util.tree_map_with_path(
        lambda path, x: make(tuple(key_of(entry) for entry in path), x, value_of),
        node,
        is_leaf=is_node,
    )


def _by_filters(filter_map: Mapping[Any, Any]) -> Callable[[Path, Any], Any]:
    filters, values = tuple(filter_map), tuple(filter_map.values())
    predicates = filters_to_predicates(filters)

    def value_of(path: Path, leaf: object) -> object:
        i = first_passing(predicates, path, leaf)
        if i == len(filters):
            raise ArgumentError(
                f"No filter matched the leaf at {path_text(path)}, {describe(leaf)}.",
                hint="Add a filter for it, or `...` as the last one for everything else.",
            )
        return values[i]

    return value_of


def _spec(path: Path, x: object, value_of: Callable[[Path, Any], Any]) -> object:
    if kind_of(x) != OBJECT:
        return value_of(path, x)
    graphdef, leaves = flat_leaves(x)
    groups: list[tuple[Any, list[Path]]] = []
    for below, leaf in zip(graphdef.paths, leaves, strict=True):
        value = value_of((*path, *below), leaf)
        for known, paths in groups:
            if known == value:
                paths.append(below)
                break
        else:
            groups.append((value, [below]))
    return StateAxes({PathIn(*paths): value for value, paths in groups})


def _object(path: Path, x: object, value_of: Callable[[Path, Any], Any]) -> object:
    if kind_of(x) not in (OBJECT, VARIABLE):
        return value_of(path, x)
    graphdef, leaves = flat_leaves(x)
    values = [
        value_of((*path, *below), leaf) for below, leaf in zip(graphdef.paths, leaves, strict=True)
    ]
    if kind_of(x) == VARIABLE:
        return values[0]
    made, nodes = build(graphdef, values)
    originals = build(graphdef, leaves)[1]
    for node, original in zip(nodes, originals, strict=True):
        if isinstance(node, Pytree):  # data stays data, even if its value is a number now
            for name in attribute_names(original):
                if holds_data(original.__dict__[name]):
                    set_mark(node, name, True)
    return made[0]
