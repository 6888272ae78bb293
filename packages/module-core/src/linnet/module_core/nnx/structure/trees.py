"""Converts trees with objects to trees that a user-defined transform can pass to jax, and back.

`to_tree` replaces each object in a tree with a `NodeStates`, the structure and states of a split;
`from_tree` restores the objects. Both use one split or merge context, so an object that occurs
twice is split once and restored as one object. Under a tag, they are two of the four steps of an
`update_context`, by which changes reach the caller's objects.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import jax

from linnet.struct import PyTreeNode, field

from ...errors import ArgumentError
from ...typing import Prefix
from ..nodes.contents import key_of
from ..variable.variable import MISSING
from .bundle import is_node
from .contexts import MergeContext, SplitContext, merge_context, split_context
from .graphdef import GraphDef
from .iteration import iter_graph
from .states import Path, State, path_text


class NodeStates(PyTreeNode):
    """A split object as a jax pytree, with its states as children.

    Attributes:
      states: one state for each filter of the split.
      metadata: hashable data that a `split_fn` passes to its `merge_fn`.
    """

    _graphdef: GraphDef[Any] | None = field(pytree_node=False)
    states: tuple[Any, ...]
    metadata: Any = field(pytree_node=False)

    @property
    def graphdef(self) -> GraphDef[Any]:
        """The structure.

        Raises:
          ArgumentError: the `NodeStates` was made from states alone.
        """
        if self._graphdef is None:
            raise ArgumentError("No graphdef available: NodeStates.from_states has none.")
        return self._graphdef

    @property
    def state(self) -> State:
        """The only state.

        Raises:
          ArgumentError: there are several, or none.
        """
        if len(self.states) != 1:
            raise ArgumentError(
                f"Expected exactly one state, got {len(self.states)}.",
                hint="All of them are in `states`.",
            )
        state: State = self.states[0]
        return state

    @classmethod
    def from_split(
        cls,
        graphdef: GraphDef[Any] | None,
        state: object,
        /,
        *states: object,
        metadata: object = None,
    ) -> NodeStates:
        """Made from the results of a split."""
        return cls(_graphdef=graphdef, states=(state, *states), metadata=metadata)

    @classmethod
    def from_states(cls, state: object, *states: object) -> NodeStates:
        """Made from states alone, as a prefix of other `NodeStates`."""
        return cls(_graphdef=None, states=(state, *states), metadata=None)

    @classmethod
    def from_prefixes(cls, prefixes: Iterable[Any], /, *, metadata: object = None) -> NodeStates:
        """Made from a value for each state, as a prefix of other `NodeStates`."""
        return cls(_graphdef=None, states=tuple(prefixes), metadata=metadata)


def _split(ctx: SplitContext, _path: Path, _prefix: object, node: object) -> object:
    return NodeStates.from_split(*ctx.split(node))


def _merge(ctx: MergeContext, _path: Path, _prefix: Prefix, leaf: NodeStates) -> object:
    return ctx.merge(leaf.graphdef, *leaf.states)


def is_node_states(x: object) -> bool:
    """Whether a value is a replacement that `to_tree` makes for an object."""
    return isinstance(x, NodeStates)


def to_tree(
    tree: object,
    /,
    *,
    prefix: object = MISSING,
    split_fn: Callable[[SplitContext, Path, Any, Any], Any] = _split,
    map_non_graph_nodes: bool = False,
    ctxtag: Hashable | None = None,
    check_aliasing: bool = True,
) -> Any:
    """Replaces each object in a tree with the result of `split_fn`, a `NodeStates` by default.

    Args:
      tree: containers of modules, variables, arrays and other leaves.
      prefix: a prefix of the tree, for instance of axes; each of its leaves applies to the whole
        subtree at its place. None is a leaf.
      split_fn: a function of a context with `split(node, *filters)`, the path, the leaf of
        `prefix`, and the object.
      map_non_graph_nodes: whether to call `split_fn` for all other leaves, too.
      ctxtag: the tag of the surrounding `update_context`.
      check_aliasing: whether an object under different prefixes raises an error.

    Raises:
      ArgumentError: an object occurs under different prefixes.

    >>> from linnet.module_core import nnx
    >>> model = nnx.Dict(w=nnx.Param(1.0))
    >>> again = nnx.from_tree(nnx.to_tree([model, model, 3]))
    >>> again[0] is again[1], again[2]
    (True, 3)
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_node)
    prefixes = _broadcast(prefix, tree, is_node, len(leaves))
    paths = [tuple(key_of(entry) for entry in path) for path, _ in leaves]
    if check_aliasing and prefix is not MISSING:
        _check_aliasing(zip(paths, (leaf for _, leaf in leaves), prefixes, strict=True))
    made: list[Any] = []
    with split_context(ctxtag) as ctx:
        for path, (_, leaf), own in zip(paths, leaves, prefixes, strict=True):
            if map_non_graph_nodes or is_node(leaf):
                leaf = split_fn(ctx, path, own, leaf)
            made.append(leaf)
    return jax.tree_util.tree_unflatten(structure, made)


def from_tree(
    tree: object,
    /,
    *,
    prefix: object = MISSING,
    merge_fn: Callable[[MergeContext, Path, Any, Any], Any] = _merge,
    is_node_leaf: Callable[[Any], bool] = is_node_states,
    is_leaf: Callable[[Any], bool] = is_node_states,
    map_non_graph_nodes: bool = False,
    is_inner: bool | None = None,
    ctxtag: Hashable | None = None,
) -> Any:
    """The inverse of `to_tree`: restores the objects in a tree.

    Args:
      tree: from `to_tree`, or the same with different arrays.
      prefix: a prefix of the tree; each of its leaves applies to the whole subtree at its place.
        None is a leaf.
      merge_fn: a function of a context with `merge(graphdef, state, ...)`, the path, the leaf of
        `prefix`, and the object's replacement; returns the object.
      is_node_leaf: whether a leaf is the replacement of an object.
      is_leaf: whether any other value is a leaf.
      map_non_graph_nodes: whether to call `merge_fn` for all other leaves, too.
      is_inner: under a tag, whether the call is inside the transformed function.
      ctxtag: the tag of the surrounding `update_context`.
    """

    def stop(x: object) -> bool:
        return is_node_leaf(x) or is_leaf(x)

    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=stop)
    prefixes = _broadcast(prefix, tree, stop, len(leaves))
    made: list[Any] = []
    with merge_context(ctxtag, is_inner) as ctx:
        for (path, leaf), own in zip(leaves, prefixes, strict=True):
            if map_non_graph_nodes or is_node_leaf(leaf):
                leaf = merge_fn(ctx, tuple(key_of(entry) for entry in path), own, leaf)
            made.append(leaf)
    return jax.tree_util.tree_unflatten(structure, made)


def _broadcast(
    prefix: object, tree: object, is_leaf: Callable[[Any], bool], count: int
) -> list[Any]:
    """The leaf of the prefix that applies to each leaf of a tree."""
    if prefix is MISSING:
        return [MISSING] * count
    found: list[Any] = []

    def repeat(own: object, below: object) -> None:
        found.extend([own] * len(jax.tree.leaves(below, is_leaf=is_leaf)))

    jax.tree.map(repeat, prefix, tree, is_leaf=lambda x: x is None or is_leaf(x))
    return found


def _check_aliasing(leaves: Iterable[tuple[Path, Any, Any]]) -> None:
    seen: dict[int, tuple[Path, Any]] = {}
    for path, leaf, own in leaves:
        if not is_node(leaf):
            continue
        for below, node in iter_graph(leaf, graph=True):
            if not is_node(node):
                continue
            first, other = seen.setdefault(id(node), ((*path, *below), own))
            if other != own:
                raise ArgumentError(
                    f"Inconsistent aliasing: one {type(node).__name__} has two prefixes: it is at"
                    f" {path_text(first)} with the prefix {other!r} and at"
                    f" {path_text((*path, *below))} with {own!r}.",
                    hint="Give both the same prefix, or make one of them a copy (nnx.clone).",
                )
