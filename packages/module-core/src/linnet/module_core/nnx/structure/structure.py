"""The structure of modules as a program of tokens, and back.

A walk over some roots visits attributes by sorted name, depth first, and each object once. It
leaves two things behind: a `GraphDef`, a flat tuple of tokens that says everything but the values
of the leaves, and the lists of what it met (`Walk`). `build` reads the tokens and makes new objects
around given leaves.

The tokens are plain hashable tuples, compared and hashed at C speed. Objects, lists and dicts have
an identity and get the next index when they open; so do variables. A second visit is a reference to
the index, which is how sharing survives. Static values are in the tokens by their key (see
`statics`), and beside them by themselves, to build from.
"""

# Recursive inner functions are deleted when they are done, which ruff takes for undefined names.
# ruff: noqa: F821
from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic

import jax

from ...errors import ArgumentError
from ..nodes import edits
from ..nodes.kinds import (
    ARRAY,
    DICT,
    LIST,
    OBJECT,
    REFERENCE,
    STATIC,
    TREE,
    VARIABLE,
    kind_of,
    known_kinds,
)
from ..nodes.pytree import _set_marks, marks_of, new_object
from ..nodes.statics import can_change, static_key
from ..variable.variable import Variable, _set_metadata, new_variable, set_raw_value

ABSENT = object()


def one_level(tree: Any) -> tuple[list[Any], Any, list[Any]]:
    """Children of a pytree node, its structure, and the children's keys in paths."""
    found, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    return [x for _, x in found], structure, [key_of(path[0]) for path, _ in found]


def key_of(entry: Any) -> Any:
    """The name or index that an entry of a jax key path stands for."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def attribute_names(obj: Any) -> list[str]:
    """The names of an object's attributes in the order of paths."""
    order = getattr(type(obj), "_attribute_order", None)
    if order is not None:
        return sorted(obj.__dict__, key=order)
    if "attr_priorities" in obj.__dict__ and hasattr(type(obj), "set_attr_priority"):
        priorities = obj.attr_priorities  # of a `bridge.Module`
        return sorted(obj.__dict__, key=lambda name: (priorities.get(name, 50), name))
    return sorted(obj.__dict__)


def sorted_keys(mapping: dict[Any, Any]) -> list[Any]:
    """The keys of a dict in order, or as inserted where they have none."""
    try:
        return sorted(mapping)
    except TypeError:
        return list(mapping)


if TYPE_CHECKING:
    from typing_extensions import TypeVar

    N = TypeVar("N", default=Any)  # of a bare `GraphDef`, any object
else:
    from typing import TypeVar

    N = TypeVar("N")

# Weak on both sides: a key that is its own value would keep it, and all that is static in it.
_interned: weakref.WeakKeyDictionary[GraphDef, weakref.ref[GraphDef]] = weakref.WeakKeyDictionary()


class GraphDef(Generic[N]):
    """The structure of one or several objects: everything but the values of their leaves.

    Hashable and comparable; equal for modules of the same classes, static attributes, sharing and
    metadata of variables. `GraphDef[Model]` is the structure of a `Model`, for type checkers.

    Attributes:
      tokens: see the module's docstring.
      statics: the static values, in the order of their tokens.
      num_leaves: how many leaves there are, shared ones counted once.
      num_nodes: how many nodes there are, with those before.
      num_before: how many nodes of earlier walks come first in the numbering.
      num_roots: how many roots the walk had.
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
        """The one instance that stands for all equal ones, so that equality is identity."""
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

    def __reduce__(self) -> Any:
        return GraphDef, (
            self.tokens,
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

    def apply(self, state: Any, *states: Any, graph: bool | None = None) -> Any:
        """The same as `nnx.call((graphdef, state, ...))`: calls a method of the split module."""
        from .calling import call

        del graph

        return call((self, state, *states))

    @property
    def changeable(self) -> tuple[bool, ...]:
        """Of each static value whether it may be edited in place."""
        if self._changeable is None:
            self._changeable = tuple(map(can_change, self.statics))
        return self._changeable  # type: ignore[no-any-return]

    @property
    def nodes(self) -> list[Any]:
        """A `NodeDef`, `VariableDef` or `NodeRef` for each node, in the order of the walk."""
        from .definitions import nodes_of

        return nodes_of(self.tokens, self.num_before)

    @property
    def paths(self) -> list[tuple[Any, ...]]:
        """The path of each leaf, in order. Of several roots, paths start with the root's index."""
        if self._paths is None:
            self._work_out_paths()
        return self._paths  # type: ignore[no-any-return]

    @property
    def leaf_types(self) -> list[tuple[type | None, Any]]:
        """Of each leaf: the class and metadata of its variable, or (None, {}) of a raw array."""
        if self._leaf_types is None:
            self._work_out_paths()
        return self._leaf_types  # type: ignore[no-any-return]

    def _work_out_paths(self) -> None:
        paths: list[tuple[Any, ...]] = []
        types: list[tuple[type | None, Any]] = []
        tokens = iter(self.tokens)

        def visit(path: tuple[Any, ...]) -> None:
            token = next(tokens)
            kind = token[0]
            if kind == OBJECT:
                for name in token[2]:
                    visit((*path, path_name(token[1], name)))
            elif kind == TREE:
                for name in token[2]:
                    visit((*path, name))
            elif kind == LIST:
                for i in range(token[1]):
                    visit((*path, i))
            elif kind == DICT:
                for name in token[1]:
                    visit((*path, name))
            elif kind == VARIABLE:
                paths.append(path)
                types.append((token[1], token[2]))
            elif kind == ARRAY:
                paths.append(path)
                types.append((None, {}))

        several = self.num_roots != 1
        for i in range(self.num_roots):
            visit((i,) if several else ())
        self._paths, self._leaf_types = paths, types


# Among arguments and results of jax's own transforms a structure is just that: no leaves.
jax.tree_util.register_static(GraphDef)


def path_name(cls: type, name: Any) -> Any:
    """What stands in a path for the attribute `name` of an object of a class."""
    keys = getattr(cls, "_path_key", None)
    return name if keys is None else keys(name)


class _MetadataKey:
    """A variable's metadata in a token: hashed by its keys, kept to build from."""

    __slots__ = ("_hash", "items", "key")

    def __init__(self, items: Any) -> None:
        self.items = items
        self.key = frozenset((k, static_key(v)) for k, v in items.items())
        self._hash = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _MetadataKey) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash


NO_METADATA = _MetadataKey({})


class Walk:
    """What a walk over roots met, beside the tokens.

    Args:
      roots: where to start.
      before: the nodes of earlier walks, which this one continues: it refers to them by index.

    Attributes:
      graphdef: the structure.
      nodes: objects, lists, dicts and variables by index.
      leaves: for each leaf, the `Variable`, or a raw array.
      slots: for each leaf, None of a variable; of a raw array (mutable owner, key), or None where
        the array is inside of an immutable container.
      changeable: static values that may be edited in place.
      opaque: static values, one a class, that would be trees if their class was registered as one.
    """

    __slots__ = ("changeable", "graphdef", "leaves", "nodes", "opaque", "slots")

    def __init__(self, roots: Sequence[Any], before: Sequence[Any] = ()) -> None:
        tokens: list[Any] = []
        statics: list[Any] = []
        nodes: list[Any] = list(before)
        leaves: list[Any] = []
        slots: list[Any] = []
        changeable: list[Any] = []
        opaque: dict[type, Any] = {}
        index_of = {id(node): i for i, node in enumerate(before)}
        put, known = tokens.append, known_kinds.get

        def put_static(value: Any) -> None:
            put((STATIC, static_key(value)))
            statics.append(value)
            if can_change(value):
                changeable.append(value)

        def visit(value: Any, owner: Any, key: Any, mark: bool | None) -> None:
            if mark is False:
                put_static(value)
                return
            kind = known(id(type(value)))
            if kind is None:
                if type(value) in opaque:
                    kind = STATIC
                else:
                    kind = kind_of(value)
                    if kind == STATIC and not isinstance(value, jax.core.Tracer):
                        opaque[type(value)] = value
            if kind == STATIC and mark is None:
                put_static(value)
                return
            if kind == ARRAY or (kind == STATIC and value is not None):
                put((ARRAY,))
                leaves.append(value)
                slots.append(None if owner is None else (owner, key))
                return
            if kind == STATIC:
                put_static(value)
                return
            if kind == TREE:
                children, structure, keys = one_level(value)
                put((TREE, structure, tuple(keys)))
                for child in children:
                    visit(child, None, None, None)
                return
            index = index_of.get(id(value))
            if index is not None:
                put((REFERENCE, index))
                return
            index_of[id(value)] = len(nodes)
            nodes.append(value)
            if kind == VARIABLE:
                metadata = value._metadata
                put((VARIABLE, type(value), _MetadataKey(metadata) if metadata else NO_METADATA))
                leaves.append(value)
                slots.append(None)
            elif kind == OBJECT:
                attributes = value.__dict__
                names = attribute_names(value)
                marks = marks_of(value)
                put((OBJECT, type(value), tuple(names), tuple(marks.items()) if marks else ()))
                for name in names:
                    visit(attributes[name], attributes, name, marks.get(name))
            elif kind == LIST:
                put((LIST, len(value)))
                for i, item in enumerate(value):
                    visit(item, value, i, None)
            else:
                names = sorted_keys(value)
                put((DICT, tuple(names), tuple(value)))
                for name in names:
                    visit(value[name], value, name, None)

        for root in roots:
            visit(root, None, None, True)  # a root is data, were it a plain number
        del visit  # it refers to itself: left to the garbage collector it would keep all nodes
        self.graphdef = GraphDef(
            tuple(tokens), tuple(statics), len(leaves), len(nodes), len(roots), len(before)
        ).interned()
        self.nodes = nodes
        self.leaves = leaves
        self.slots = slots
        self.changeable = changeable
        self.opaque = list(opaque.values())


def build(
    graphdef: GraphDef,
    leaves: Iterable[Any],
    reuse: Callable[[int], Any] | None = None,
    stamp: Any = None,
    recreate: bool = True,
    before: Sequence[Any] = (),
) -> tuple[list[Any], list[Any]]:
    """Objects of a structure around given leaves.

    Args:
      graphdef: the structure.
      leaves: of each leaf of a variable its value, or the `Variable` itself, to be used as it is;
        of a raw array the array.
      reuse: for the index of a node, an existing node to fill, or None for a new one.
      stamp: the trace level of new objects; None for the current one.
      recreate: puts the value of a variable into one; False leaves it bare.
      before: the nodes of earlier walks that the structure refers to.

    Returns:
      The roots, and all nodes by index.
    """
    stamp = edits.trace_state() if stamp is None else stamp
    tokens = iter(graphdef.tokens)
    statics = iter(zip(graphdef.statics, graphdef.changeable, strict=True))
    values = iter(leaves)
    nodes: list[Any] = [*before, *([ABSENT] * (graphdef.num_before - len(before)))]

    def read(token: Any, present: Any = ABSENT) -> Any:
        kind = token[0]
        if kind == STATIC:
            value, changeable = next(statics)
            if present is not ABSENT and static_key(present) == token[1]:
                return present  # the caller's own, should equal ones be told apart by `is`
            return _copied(value) if changeable else value
        if kind == VARIABLE:
            value = next(values)
            known = reuse(len(nodes)) if reuse is not None else None
            if known is not None:
                set_raw_value(known, value)
                if token[2] != _MetadataKey(known._metadata):
                    _set_metadata(known, token[2].items)
                nodes.append(known)
                return known
            if recreate and not isinstance(value, Variable):
                value = new_variable(token[1], value, token[2].items, stamp)
            nodes.append(value)
            return value
        if kind == ARRAY:
            value = next(values)
            return value.raw_value if isinstance(value, Variable) else value
        if kind == REFERENCE:
            if nodes[token[1]] is ABSENT:
                raise ArgumentError(
                    "The structure refers to an object of another one, after which it was"
                    " flattened.",
                    hint="Unflatten first what was flattened before it, with one index_ref for"
                    " all: nnx.unflatten(graphdef, leaves, index_ref=index_ref).",
                )
            return nodes[token[1]]
        if kind == TREE:
            return jax.tree_util.tree_unflatten(token[1], [read(next(tokens)) for _ in token[2]])
        known = reuse(len(nodes)) if reuse is not None else None
        if kind == OBJECT:
            new = new_object(token[1], stamp) if known is None else known
            nodes.append(new)
            if type(new) is not token[1]:  # the function assigned to `__class__`
                object.__setattr__(new, "__class__", token[1])
                edits.replaced[0] += 1
            if token[3] and dict(token[3]) != marks_of(new):
                _set_marks(new, dict(token[3]))
            attributes = new.__dict__
            if known is None:
                for name in token[2]:
                    inner = next(tokens)
                    if inner[0] == STATIC:  # most are: no call for them
                        value, changeable = next(statics)
                        attributes[name] = _copied(value) if changeable else value
                    else:
                        attributes[name] = read(inner)
                return new
            filled = {n: read(next(tokens), attributes.get(n, ABSENT)) for n in token[2]}
            for name in [n for n in attributes if n not in filled]:
                del attributes[name]
            attributes.update(filled)
            return new
        if kind == LIST:
            items: list[Any] = [] if known is None else known
            nodes.append(items)
            items[:] = [read(next(tokens)) for _ in range(token[1])]
            return items
        mapping: dict[Any, Any] = {} if known is None else known
        nodes.append(mapping)
        by_name = {name: read(next(tokens)) for name in token[1]}
        mapping.clear()
        mapping.update((name, by_name[name]) for name in token[2])
        return mapping

    roots = [read(next(tokens)) for _ in range(graphdef.num_roots)]
    del read  # it refers to itself, and would keep all nodes
    return roots, nodes


def _copied(value: Any) -> Any:
    """A copy of a static value that a function may edit without the original's changing."""
    import copy

    if isinstance(value, (list, dict, set)):
        return copy.copy(value)
    return value


# Questions about a single value.


def iter_data(value: Any) -> Iterator[Any]:
    """The data leaves of a value: variables and arrays; nodes count as one leaf each."""
    return _iter_data(value, {})


def _iter_data(value: Any, seen: dict[int, Any]) -> Iterator[Any]:
    kind = kind_of(value)
    if kind in (OBJECT, VARIABLE, ARRAY):
        yield value
    elif kind in (LIST, DICT, TREE):
        if kind != TREE:
            if id(value) in seen:
                return
            seen[id(value)] = value  # with the object, so that no identity is used twice
        children = (
            value if kind == LIST else value.values() if kind == DICT else one_level(value)[0]
        )
        for child in children:
            yield from _iter_data(child, seen)


def holds_data(value: Any) -> bool:
    """Whether a value is data, or a container with some in it."""
    kind = kind_of(value)
    if kind in (OBJECT, VARIABLE, ARRAY):
        return True
    return kind != STATIC and next(iter_data(value), None) is not None


def data_leaves(value: Any) -> list[Any]:
    """The data leaves of a value, as a list."""
    return list(iter_data(value))


def is_pure_data(value: Any) -> bool:
    """Whether a value holds nothing but data."""
    kind = kind_of(value)
    if kind in (OBJECT, VARIABLE, ARRAY):
        return True
    if kind == STATIC:
        return value is None
    children = value if kind == LIST else value.values() if kind == DICT else one_level(value)[0]
    return all(map(is_pure_data, children))


class _Skeleton:
    """A container with holes where its data was, as part of a jax tree's structure."""

    __slots__ = ("key", "leaves", "structure")

    def __init__(self, structure: Any, leaves: list[tuple[bool, Any]]) -> None:
        self.structure = structure
        self.leaves = leaves
        self.key = (structure, tuple((d, None if d else static_key(v)) for d, v in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Skeleton) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def fill(self, data: Iterable[Any]) -> Any:
        values = iter(data)
        return jax.tree_util.tree_unflatten(
            self.structure, [next(values) if is_data else v for is_data, v in self.leaves]
        )


def split_static(value: Any) -> tuple[list[Any], _Skeleton]:
    """The data of a mixed container, and the container without it."""
    leaves, structure = jax.tree_util.tree_flatten(
        value, is_leaf=lambda x: kind_of(x) in (OBJECT, VARIABLE)
    )
    marked = [(kind_of(x) in (OBJECT, VARIABLE, ARRAY), x) for x in leaves]
    return [x for d, x in marked if d], _Skeleton(
        structure, [(d, None if d else x) for d, x in marked]
    )


def refuse_leftover(wanted: int, got: int) -> None:
    """Refuses a wrong number of leaves.

    Raises:
      ArgumentError: the numbers differ.
    """
    if wanted != got:
        raise ArgumentError(
            f"Incorrect number of leaves, expected {wanted} leaves, but got {got}.",
            hint="Merge a GraphDef with all the states that it was split from.",
        )
