"""`GraphDef`: everything about some objects except the values of their leaves.

It is a flat tuple of tokens (see `structure`), compared and hashed at C speed. Derived data (the
paths of the leaves, their classes) is computed once and cached with it; equal GraphDefs are
interned, so that they share this data.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic

import jax

from ...errors import ArgumentError
from ..nodes.contents import path_name
from ..nodes.kinds import ARRAY, DICT, LIST, OBJECT, STATIC, TREE, VARIABLE
from ..nodes.statics import can_change, static_key
from .definitions import nodes_of
from .states import Path

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    N = TypeVar("N", default=Any)  # a bare `GraphDef` is the structure of any object
else:
    from typing import TypeVar

    N = TypeVar("N")

# Weak keys and values: each value is its own key, and would keep itself and its statics alive.
_interned: weakref.WeakKeyDictionary[GraphDef, weakref.ref[GraphDef]] = weakref.WeakKeyDictionary()


class GraphDef(Generic[N]):
    """The structure of one or several objects: everything but the values of their leaves.

    GraphDefs are hashable and comparable; they are equal for modules with the same classes, static
    attributes, sharing and metadata of variables. `GraphDef[Model]` is the structure of a `Model`,
    for type checkers.

    Attributes:
      tokens: see the module's docstring.
      statics: the static values, in the order of their tokens.
      num_leaves: the number of leaves; shared leaves count once.
      num_nodes: the number of nodes, including those of earlier walks.
      num_before: the number of nodes of earlier walks, which come first in the numbering.
      num_roots: the number of roots of the walk.
    """

    __slots__ = (
        "__weakref__",
        "_changeable",
        "_hash",
        "_leaf_types",
        "_paths",
        "joined",
        "num_before",
        "num_leaves",
        "num_nodes",
        "num_roots",
        "statics",
        "tokens",
    )

    def __init__(
        self,
        tokens: tuple[Any, ...],
        statics: tuple[Any, ...],
        num_leaves: int,
        num_nodes: int,
        num_roots: int,
        num_before: int = 0,
    ) -> None:
        self.tokens = tokens
        self.statics = statics
        self.num_leaves = num_leaves
        self.num_nodes = num_nodes
        self.num_roots = num_roots
        self.num_before = num_before
        self._hash = hash(tokens)
        self.joined: dict[Any, GraphDef] = {}  # see `bundle.join`
        self._changeable: Any = None
        self._paths: Any = None
        self._leaf_types: Any = None

    def interned(self) -> GraphDef[N]:
        """The unique instance among equal ones, so that equality is identity."""
        known = _interned.get(self)
        found = None if known is None else known()
        if found is None:
            _interned[self] = weakref.ref(self)
            return self
        return found

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, GraphDef)
            and self._hash == other._hash
            and self.tokens == other.tokens
            and self.num_roots == other.num_roots
            and self.num_before == other.num_before
        )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (
            tuple(map(_to_pickle, self.tokens)),
            self.statics,
            self.num_leaves,
            self.num_nodes,
            self.num_roots,
            self.num_before,
        )

    def __repr__(self) -> str:
        names = [t[1].__name__ for t in self.tokens if t[0] == OBJECT]
        head = names[0] if names else "no object"
        return (
            f"GraphDef({head}, objects={len(names)}, leaves={self.num_leaves},"
            f" static={len(self.statics)})"
        )

    if TYPE_CHECKING:  # set by `calling`, which is in a layer above

        def apply(self, state: object, *states: object, graph: bool | None = None) -> Any: ...

    @property
    def changeable(self) -> tuple[bool, ...]:
        """Whether each static value may be edited in place."""
        if self._changeable is None:
            self._changeable = tuple(map(can_change, self.statics))
        return self._changeable  # type: ignore[no-any-return]

    @property
    def nodes(self) -> list[Any]:
        """A `NodeDef`, `VariableDef` or `NodeRef` for each node, in the order of the walk."""
        return nodes_of(self.tokens, self.num_before)

    @property
    def paths(self) -> list[tuple[Any, ...]]:
        """The paths of the leaves, in order; with several roots, they start with a root index."""
        if self._paths is None:
            self._work_out_paths()
        return self._paths  # type: ignore[no-any-return]

    @property
    def leaf_types(self) -> list[tuple[type | None, Any]]:
        """The class and metadata of each leaf's variable; (None, {}) for raw arrays."""
        if self._leaf_types is None:
            self._work_out_paths()
        return self._leaf_types  # type: ignore[no-any-return]

    def _work_out_paths(self) -> None:
        paths: list[tuple[Any, ...]] = []
        types: list[tuple[type | None, Any]] = []
        tokens = iter(self.tokens)
        several = self.num_roots != 1
        for i in range(self.num_roots):
            _read_paths(tokens, (i,) if several else (), paths, types)
        self._paths, self._leaf_types = paths, types


def _to_pickle(token: tuple[Any, ...]) -> tuple[Any, ...]:
    if token[0] == STATIC:
        return (STATIC,)  # its key may name a type that pickle doesn't find
    if token[0] == TREE:
        return (TREE, _Tree.of(token[1]), token[2])
    return token


class _Tree:
    """The structure of a jax pytree in a pickle: an instance whose children are zeros.

    A pickled `PyTreeDef` names only the class. If the class itself is part of the pickle, it is
    registered when it is loaded, possibly after the `PyTreeDef` and as a different kind of node.
    """

    def __init__(self, instance: object) -> None:
        self.instance = instance

    @classmethod
    def of(cls, structure: jax.tree_util.PyTreeDef) -> _Tree:
        """A `_Tree` for a jax structure."""
        return cls(jax.tree_util.tree_unflatten(structure, [0] * structure.num_leaves))

    def structure(self) -> Any:
        """The structure of the instance, according to the classes registered in this process.

        Raises:
          ArgumentError: jax doesn't know the class.
        """
        if jax.tree_util.all_leaves([self.instance]):
            name = type(self.instance).__name__
            raise ArgumentError(
                f"A pickled GraphDef has a {name} as data, but jax in this process doesn't know"
                f" {name} as a pytree.",
                hint=f"Define {name} in a module that both processes import, or make it a"
                " struct.dataclass, which registers itself wherever it is loaded.",
            )
        return jax.tree.structure(self.instance)


def _unpickled(tokens: tuple[Any, ...], statics: tuple[Any, ...], *counts: int) -> GraphDef:
    values = iter(statics)

    def restored(token: tuple[Any, ...]) -> tuple[Any, ...]:
        if token[0] == STATIC:
            return (STATIC, static_key(next(values)))
        if token[0] == TREE and isinstance(token[1], _Tree):
            return (TREE, token[1].structure(), token[2])
        return token

    return GraphDef(tuple(map(restored, tokens)), statics, *counts)


def _read_paths(
    tokens: Iterator[Any],
    path: tuple[Any, ...],
    paths: list[tuple[Any, ...]],
    types: list[tuple[type | None, Any]],
) -> None:
    """Reads the value at `path` and appends the paths and types of its leaves."""
    token = next(tokens)
    kind = token[0]
    names: Iterable[Any] = ()
    if kind == OBJECT:
        names = [path_name(token[1], name) for name in token[2]]
    elif kind == TREE:
        names = token[2]
    elif kind == LIST:
        names = range(token[1])
    elif kind == DICT:
        names = token[1]
    elif kind in (VARIABLE, ARRAY):
        paths.append(path)
        types.append((token[1], token[2]) if kind == VARIABLE else (None, {}))
    for name in names:
        _read_paths(tokens, (*path, name), paths, types)


# For jax's transforms, a structure is a pytree without leaves.
jax.tree_util.register_static(GraphDef)


Number = tuple[int, int]
"""The number of an object: the index of the split that first visited it, and its index there."""


class NumberedGraphDef:
    """A structure from a split within a `split_context`; hashable.

    Attributes:
      graphdef: the structure of the object, together with all earlier splits if it refers to them.
      numbers: the number of each object; all None without a tag.
      before: the numbers of nodes and leaves that belong to earlier splits.
    """

    __slots__ = ("_key", "before", "graphdef", "numbers")

    def __init__(
        self,
        graphdef: GraphDef,
        numbers: tuple[Number | None, ...],
        before: tuple[int, int] = (0, 0),
    ) -> None:
        self.graphdef = graphdef
        self.numbers = numbers
        self.before = before
        self._key = (graphdef, numbers, before)

    @property
    def paths(self) -> list[Path]:
        """The paths of the new leaves."""
        paths = self.graphdef.paths[self.before[1] :]
        return [p[1:] for p in paths] if self.graphdef.num_roots != 1 else paths

    @property
    def num_leaves(self) -> int:
        """The number of new leaves."""
        return self.graphdef.num_leaves - self.before[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberedGraphDef) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Numbered{self.graphdef!r}"


jax.tree_util.register_static(NumberedGraphDef)
