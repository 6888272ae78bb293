"""`unpack`: states that carry their structure; and names for type annotations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import jax

from ...errors import ArgumentError
from ..filters import Filter
from .graph import split
from .graphdef import GraphDef
from .states import State, _flatten_state

if TYPE_CHECKING:
    from ..module import Module as Module

A = TypeVar("A")
"""The type of a variable's value: `class Steps(nnx.Variable[nnx.A])`."""

M = TypeVar("M", bound="Module")
"""A module type, for annotations of functions that return the type of their argument."""

PureState = tuple[GraphDef[A], State]
"""The result of `nnx.split`, for annotations: `PureState[Model]`."""


class GraphState(State, Generic[A]):
    """A state with the structure of its object, so that `nnx.merge` needs no `GraphDef`.

    Args:
      _graphdef: the structure.
      _state: the state.
    """

    __slots__ = ("_graphdef",)

    _graphdef: GraphDef[A]

    def __init__(self, _graphdef: GraphDef[A], _state: object) -> None:
        if not isinstance(_state, State):
            raise ArgumentError(
                f"Expected a State object, got {type(_state).__name__}.",
                hint="A bare variable is its own state: nnx.split gives its structure.",
            )
        super().__init__(_state, _copy=False)
        object.__setattr__(self, "_graphdef", _graphdef)

    @property
    def _state(self) -> State:
        return State(self._mapping, _copy=False)

    def __eq__(self, other: object) -> bool:
        """Whether another state has equal leaves, and the same structure if it has one."""
        if isinstance(other, GraphState) and self._graphdef != other._graphdef:
            return False
        return super().__eq__(other)

    __hash__ = None

    def __copy__(self) -> GraphState[A]:
        return GraphState(self._graphdef, State(self._mapping))

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphState[A]:
        import copy

        return GraphState(self._graphdef, copy.deepcopy(self._state, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return GraphState, (self._graphdef, self._state)


def _flatten(state: GraphState[Any]) -> tuple[list[Any], Any]:
    children, keys = _flatten_state(state)
    return children, (state._graphdef, keys)


def _flatten_with_keys(state: GraphState[Any]) -> tuple[list[tuple[Any, Any]], Any]:
    children, (graphdef, keys) = _flatten(state)
    named = [(jax.tree_util.DictKey(k), c) for k, c in zip(keys, children, strict=True)]
    return named, (graphdef, keys)


def _unflatten(
    aux: tuple[GraphDef[Any], tuple[Any, ...]], children: Iterable[Any]
) -> GraphState[Any]:
    graphdef, keys = aux
    mapping = {
        k: c._mapping if isinstance(c, State) else c for k, c in zip(keys, children, strict=True)
    }
    return GraphState(graphdef, State(mapping, _copy=False))


jax.tree_util.register_pytree_with_keys(GraphState, _flatten_with_keys, _unflatten, _flatten)


@overload
def unpack(node: A, filter: Filter = ..., /, *, graph: bool | None = None) -> GraphState[A]: ...
@overload
def unpack(
    node: A, first: Filter, second: Filter, /, *filters: Filter, graph: bool | None = None
) -> tuple[GraphState[A], ...]: ...
def unpack(
    node: A, *filters: Filter, graph: bool | None = None
) -> GraphState[A] | tuple[GraphState[A], ...]:
    """The states of an object, each with the structure of the whole object.

    Args:
      node: a module or another nnx object, or a container of them.
      *filters: one state is returned for each, with the leaves that pass it but no earlier one.
        Without filters, one state has all leaves.
      graph: if False, shared references raise an error.

    Returns:
      A `GraphState`, or a tuple of them, which `nnx.merge` takes together.

    Raises:
      ArgumentError: a leaf passes no filter, or the object is a bare variable or array.

    >>> from linnet.module_core import nnx
    >>> model = nnx.Dict(w=nnx.Param(1.0), n=nnx.BatchStat(2.0))
    >>> params, stats = nnx.unpack(model, nnx.Param, nnx.BatchStat)
    >>> nnx.merge(params, stats).w is model.w
    True
    """
    graphdef, *states = split(node, *filters, graph=graph)
    found = tuple([GraphState(graphdef, state) for state in states])
    return found if len(found) > 1 else found[0]
