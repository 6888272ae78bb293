"""`flatten` and `unflatten`: convert an object to its structure and ordered leaves, and back.

Objects that share something are flattened with one `RefMap` and unflattened with one `IndexMap`, so
that later structures can refer to objects of earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from ...errors import ArgumentError
from ..variable.variable import Variable
from .graph import _leaves_for
from .graphdef import GraphDef, NumberedGraphDef
from .iteration import refuse_tree_mode
from .states import FlatState, path_order
from .structure import ABSENT, Walk, build

A = TypeVar("A")
V = TypeVar("V")


class RefMap(MutableMapping[Any, V]):
    """A mapping with objects as keys, compared by identity rather than equality.

    Args:
      mapping: initial pairs.
    """

    __slots__ = ("_pairs",)

    def __init__(self, mapping: Mapping[Any, V] | Iterable[tuple[Any, V]] = (), /) -> None:
        self._pairs: dict[int, tuple[Any, V]] = {}
        self.update(mapping)

    def __getitem__(self, key: object) -> V:
        return self._pairs[id(key)][1]

    def __contains__(self, key: object) -> bool:
        return id(key) in self._pairs

    def __setitem__(self, key: object, value: V) -> None:
        self._pairs[id(key)] = key, value

    def __delitem__(self, key: object) -> None:
        del self._pairs[id(key)]

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in self._pairs.values()])

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"RefMap({list(self._pairs.values())!r})"


class IndexMap(dict[int, Any]):
    """A mapping from indices to objects."""


def flatten(
    node: A,
    /,
    *,
    with_paths: bool = True,
    ref_index: RefMap[int] | None = None,
    ref_outer_index: RefMap[Any] | None = None,
    graph: bool | None = None,
) -> tuple[GraphDef[A], Any]:
    """The structure of an object, and its leaves.

    Args:
      node: a module, a variable, an array, or a container of them.
      with_paths: if True, the leaves are a `FlatState`, pairs of path and leaf; if False, a list.
      ref_index: maps objects that were flattened before to their index; new objects are added.
      ref_outer_index: maps some of the objects to numbers to store in the structure, by which
        `unflatten` finds existing objects to fill.
      graph: if False, shared references raise an error.

    >>> from linnet.module_core import nnx
    >>> graphdef, leaves = nnx.flatten(nnx.Dict(w=nnx.Param(1.0)))
    >>> leaves.paths
    (('w',),)
    """
    refuse_tree_mode(node, graph)
    before = [] if ref_index is None else sorted(ref_index, key=ref_index.__getitem__)
    walk = Walk([node], before=before)
    new = walk.nodes[len(before) :]
    if ref_index is not None:
        for i, found in enumerate(new, len(before)):
            ref_index[found] = i
    graphdef: Any = walk.graphdef
    paths = graphdef.paths
    if ref_outer_index is not None:
        graphdef = NumberedGraphDef(graphdef, tuple([ref_outer_index.get(n) for n in new]))
    if not with_paths:
        return graphdef, list(walk.leaves)
    order = sorted(range(len(paths)), key=lambda i: path_order(paths[i]))
    return graphdef, FlatState.from_sorted_keys_values(
        tuple([paths[i] for i in order]), [walk.leaves[i] for i in order]
    )


def unflatten(
    graphdef: GraphDef[A],
    state: object,
    /,
    *,
    index_ref: MutableMapping[int, Any] | None = None,
    outer_index_outer_ref: Mapping[Any, Any] | None = None,
    copy_variables: bool = False,
    recreate_variables: bool = True,
) -> A:
    """Builds an object from its structure and leaves.

    Args:
      graphdef: from `flatten` or `split`.
      state: a `State`, a `FlatState`, or a list of leaves in the order of `flatten`.
      index_ref: maps indices to objects that were unflattened before; new objects are added.
      outer_index_outer_ref: maps the numbers that `flatten` was given to existing objects to fill.
      copy_variables: whether to make new variables.
      recreate_variables: whether to wrap bare values in variables of the structure.

    Raises:
      ArgumentError: leaves are missing, or there are too many.
    """
    numbers: tuple[Any, ...] = ()
    if isinstance(graphdef, NumberedGraphDef):
        graphdef, numbers = graphdef.graphdef, graphdef.numbers
    if not isinstance(graphdef, GraphDef):
        raise ArgumentError(
            f"The first argument of unflatten must be a GraphDef, got {type(graphdef).__name__}."
        )
    given = state
    if graphdef.paths == [()] and isinstance(state, FlatState):
        given = state.leaves
    leaves = _leaves_for(graphdef, (given,))
    if copy_variables:
        leaves = [x.copy() if isinstance(x, Variable) else x for x in leaves]
    known = {} if index_ref is None else index_ref
    before = [known.get(i, ABSENT) for i in range(graphdef.num_before)]
    fill = outer_index_outer_ref or {}

    def reuse(i: int) -> object:
        number = numbers[i - len(before)] if numbers else None
        return None if number is None else fill.get(number)

    if fill:
        leaves = [x.raw_value if isinstance(x, Variable) else x for x in leaves]
    roots, nodes = build(
        graphdef, leaves, reuse if fill else None, recreate=recreate_variables, before=before
    )
    if index_ref is not None:
        index_ref.update((i, node) for i, node in enumerate(nodes) if node is not ABSENT)
    made: A = roots[0]
    return made
