"""Trees with objects as trees without, and back: what a user's own transform passes to jax.

`to_tree` replaces each object by a `NodeStates`, the structure and the states of a split,
of a tree; `from_tree` puts the objects back. Both go through one split or merge context, so that an
object that occurs twice is split once, and comes back as one. Under a tag they are two of the four
steps of an `update_context`, by which changes reach the caller's objects.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import jax

from linnet.struct import PyTreeNode, field

from ...errors import ArgumentError
from ...typing import Prefix
from ..nodes.contents import key_of
from .bundle import is_node
from .contexts import MergeContext, SplitContext, merge_context, split_context
from .graphdef import GraphDef
from .iteration import iter_graph
from .states import Path, path_text

_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()


class NodeStates(PyTreeNode):
    """An object that is split, as a tree of jax: its states are the children.

    Attributes:
      states: one for each filter of the split.
      metadata: whatever a `split_fn` wants its `merge_fn` to know; hashable.
    """

    _graphdef: GraphDef[Any] | None = field(pytree_node=False)
    states: tuple[Any, ...]
    metadata: Any = field(pytree_node=False)

    @property
    def graphdef(self) -> GraphDef[Any]:
        """The structure.

        Raises:
          ArgumentError: it was made of states alone.
        """
        if self._graphdef is None:
            raise ArgumentError("No graphdef available: NodeStates.from_states knows of none.")
        return self._graphdef

    @property
    def state(self) -> Any:
        """The only state.

        Raises:
          ArgumentError: there are several, or none.
        """
        if len(self.states) != 1:
            raise ArgumentError(
                f"Expected exactly one state, got {len(self.states)}.",
                hint="All of them are in `states`.",
            )
        return self.states[0]

    @classmethod
    def from_split(
        cls,
        graphdef: GraphDef[Any] | None,
        state: object,
        /,
        *states: object,
        metadata: object = None,
    ) -> NodeStates:
        """Of what a split returns."""
        return cls(_graphdef=graphdef, states=(state, *states), metadata=metadata)

    @classmethod
    def from_states(cls, state: object, *states: object) -> NodeStates:
        """Of states alone, as a prefix of others."""
        return cls(_graphdef=None, states=(state, *states), metadata=None)

    @classmethod
    def from_prefixes(cls, prefixes: Iterable[Any], /, *, metadata: object = None) -> NodeStates:
        """Of a value for each state, as a prefix of others."""
        return cls(_graphdef=None, states=tuple(prefixes), metadata=metadata)


def _split(ctx: SplitContext, _path: Path, _prefix: object, node: object) -> object:
    return NodeStates.from_split(*ctx.split(node))


def _merge(ctx: MergeContext, _path: Path, _prefix: Prefix, leaf: Any) -> object:
    return ctx.merge(leaf.graphdef, *leaf.states)


def is_node_states(x: object) -> bool:
    """Whether a value is what `to_tree` replaces objects by."""
    return isinstance(x, NodeStates)


def to_tree(
    tree: object,
    /,
    *,
    prefix: object = _MISSING,
    split_fn: Callable[[SplitContext, Path, Any, Any], Any] = _split,
    map_non_graph_nodes: bool = False,
    ctxtag: Hashable | None = None,
    check_aliasing: bool = True,
) -> Any:
    """A tree without objects: each is replaced by what `split_fn` makes of it.

    Args:
      tree: containers of modules, variables, arrays and other leaves.
      prefix: a tree of which each leaf belongs to all below it, axes for instance; None is a leaf.
      split_fn: gets something with `split(node, *filters)`, the path, the leaf of `prefix`, and the
        object; returns a `NodeStates` by default.
      map_non_graph_nodes: calls `split_fn` for all other leaves, too.
      ctxtag: of the `update_context` that it is part of.
      check_aliasing: refuses an object that occurs under different prefixes.

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
    if check_aliasing and prefix is not _MISSING:
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
    prefix: object = _MISSING,
    merge_fn: Callable[[MergeContext, Path, Any, Any], Any] = _merge,
    is_node_leaf: Callable[[Any], bool] = is_node_states,
    is_leaf: Callable[[Any], bool] = is_node_states,
    map_non_graph_nodes: bool = False,
    is_inner: bool | None = None,
    ctxtag: Hashable | None = None,
) -> Any:
    """The tree with objects that `to_tree` made `tree` of.

    Args:
      tree: from `to_tree`, or with other arrays.
      prefix: a tree of which each leaf belongs to all below it; None is a leaf.
      merge_fn: gets something with `merge(graphdef, state, ...)`, the path, the leaf of `prefix`,
        and the object's replacement; returns the object.
      is_node_leaf: tells the replacements of objects from other leaves.
      is_leaf: says what else is a leaf.
      map_non_graph_nodes: calls `merge_fn` for all other leaves, too.
      is_inner: under a tag, whether this is inside of the transformed function.
      ctxtag: of the `update_context` that it is part of.
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
    """Of each leaf of a tree the leaf of the prefix that it is under."""
    if prefix is _MISSING:
        return [_MISSING] * count
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
                    f"One {type(node).__name__} has two different prefixes: it is at"
                    f" {path_text(first)} with the prefix {other!r} and at"
                    f" {path_text((*path, *below))} with {own!r}.",
                    hint="Give both the same prefix, or one of them a copy (nnx.clone).",
                )
