"""`cursor`: edits deep inside an immutable tree, written as if it could be changed.

A cursor points at an object and records changes to it; `build` makes a tree with the changes, which
shares everything else with the old one. It follows dicts, `FrozenDict`s, lists, tuples, named
tuples, and dataclasses such as a `TrainState`:

>>> params = {"encoder": {"layers": [1.0, 2.0]}, "step": 0}
>>> c = cursor(params)
>>> c["encoder"]["layers"][1] = 5.0
>>> c["step"] += 1
>>> c.build()
{'encoder': {'layers': [1.0, 5.0]}, 'step': 1}
>>> params["step"]
0
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import operator
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from .errors import (
    ArgumentTypeError,
    CursorFindError,
    TraverseTreeError,
    counted,
    describe,
    did_you_mean,
)

A = TypeVar("A")
Key = Any

Node: TypeAlias = Any
"""A value somewhere in the tree, or what an operator makes of it."""

__all__ = [
    "A",
    "AccessType",
    "Cursor",
    "Indexable",
    "Key",
    "ParentKey",
    "cursor",
    "is_named_tuple",
]


class AccessType(enum.Enum):
    """How a part of an object is reached: `parent[key]`, or `parent.key`."""

    ITEM = enum.auto()
    ATTR = enum.auto()


_Path: TypeAlias = tuple[tuple[Key, AccessType], ...]


@dataclasses.dataclass
class ParentKey(Generic[A]):
    """Where a cursor is: the cursor of the object around it, and the way from there."""

    parent: Cursor[A]
    key: Key
    access_type: AccessType


@runtime_checkable
class Indexable(Protocol):
    """An object that supports `object[key]`."""

    def __getitem__(self, key: Key) -> Any: ...


def is_named_tuple(obj: object) -> bool:
    """Whether an object is a tuple whose items have names."""
    return isinstance(obj, tuple) and hasattr(obj, "_fields")


_SYMBOLS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "matmul": "@",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "divmod": "divmod",
    "pow": "**",
    "lshift": "<<",
    "rshift": ">>",
    "and": "&",
    "xor": "^",
    "or": "|",
}


class Cursor(Generic[A]):
    """Points into a tree, and collects changes to it.

    Items and attributes are cursors, too; values assigned to them go into the tree that `build`
    makes. Operators, comparisons, `len`, `str` and loops over tuples and lists take the value that
    the cursor points at, changes included. A field with the name of a method (`set`, `build`) has
    no attribute here; reach it with `find`.

    Args:
      obj: the object to point at.
      parent_key: where it is; None for a whole tree.

    >>> from linnet.struct import PyTreeNode
    >>> class Point(PyTreeNode):
    ...     x: float
    ...     y: float
    >>> cursor({"at": Point(1.0, 2.0)})["at"].y.set(7.0)
    {'at': Point(x=1.0, y=7.0)}
    """

    _obj: A
    _parent_key: ParentKey[Node] | None
    _changes: dict[Key, Cursor[Node]]

    def __init__(self, obj: A, parent_key: ParentKey[Node] | None) -> None:
        vars(self).update(_obj=obj, _parent_key=parent_key, _changes={})

    @property
    def _root(self) -> Cursor[Node]:
        at: Cursor[Node] = self
        while at._parent_key is not None:
            at = at._parent_key.parent
        return at

    @property
    def _path(self) -> str:
        if self._parent_key is None:
            return ""
        parent, key, access = (
            self._parent_key.parent,
            self._parent_key.key,
            self._parent_key.access_type,
        )
        return parent._path + (f"[{key!r}]" if access is AccessType.ITEM else f".{key}")

    # Reading: each part is a cursor, made when it is first reached.

    def __getitem__(self, key: Key) -> Cursor[Node]:
        key, access = _way(self._obj, key, AccessType.ITEM)
        if key not in self._changes:
            self._changes[key] = Cursor(_part(self._obj, key, access), ParentKey(self, key, access))
        return self._changes[key]

    def __getattr__(self, name: str) -> Cursor[Node]:
        if name in _OWN or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"a cursor has no attribute {name!r}", name=name)
        if name not in self._changes:
            part = _part(self._obj, name, AccessType.ATTR)
            self._changes[name] = Cursor(part, ParentKey(self, name, AccessType.ATTR))
        return self._changes[name]

    # Changing.

    def __setitem__(self, key: Key, value: object) -> None:
        self._assign(*_way(self._obj, key, AccessType.ITEM), value)

    def __setattr__(self, name: str, value: object) -> None:
        self._assign(name, AccessType.ATTR, value)

    def _assign(self, key: Key, access: AccessType, value: object) -> None:
        _require_editable(self._obj, key, access)
        value = _value_of(value)
        self._changes[key] = Cursor(value, ParentKey(self, key, access))

    def set(self, value: object) -> Node:
        """Replaces what the cursor points at, and builds the whole tree.

        Args:
          value: the new object.

        Returns:
          The tree around the cursor with that change and all earlier ones; `value` itself for the
          cursor of a whole tree.

        >>> cursor([1, (2, 3)])[1][0].set(7)
        [1, (7, 3)]
        """
        value = _value_of(value)
        if self._parent_key is None:
            return value
        at = self._parent_key
        at.parent._assign(at.key, at.access_type, value)
        return self._root.build()

    def build(self) -> A:
        """The object that the cursor points at, with all changes inside it.

        >>> c = cursor({"a": 1})
        >>> c["b"] = 2
        >>> c.build()
        {'a': 1, 'b': 2}
        """
        changes = {key: child.build() for key, child in self._changes.items()}
        built: A = _replaced(self._obj, changes)
        return built

    def apply_update(self, update_fn: Callable[[str, Node], Node]) -> Cursor[A]:
        """Replaces every part of the tree for which a function returns a different object.

        Objects are visited from the outside in; those inside a replaced object are not visited.

        Args:
          update_fn: takes the path, such as "encoder/layers/0", and the object; returns the same
            object to leave it.

        Returns:
          This cursor.

        >>> c = cursor({"a": {"kernel": 1, "bias": 2}})
        >>> c.apply_update(lambda path, x: 10 * x if path.endswith("kernel") else x).build()
        {'a': {'kernel': 10, 'bias': 2}}
        """
        for path, value in list(_traverse_tree((), self.build(), update_fn=update_fn)):
            key, access = path[-1]
            self._at(path[:-1])._assign(key, access, value)
        return self

    def find(self, cond_fn: Callable[[str, Node], bool]) -> Cursor[Node]:
        """The cursor of the one object for which a condition holds.

        Args:
          cond_fn: takes the path, such as "encoder/layers/0", and the object. It isn't called
            inside an object for which it holds.

        Raises:
          CursorFindError: it holds for no object, or for several.

        >>> tree = {"a": {"kernel": 1, "bias": 2}}
        >>> cursor(tree).find(lambda path, x: path.endswith("bias")).set(0)
        {'a': {'kernel': 1, 'bias': 0}}
        """
        found = self.find_all(cond_fn)
        first, second = next(found, None), next(found, None)
        # A cursor's truth is its value's.
        if first is None:
            raise CursorFindError(
                "No object in the tree fulfills the condition.",
                hint='It gets paths such as "encoder/layers/0". Does the tree have the path that '
                "you look for?",
            )
        if second is not None:
            raise CursorFindError(
                "Several objects in the tree fulfill the condition; the first two are at"
                f" {first._path} and {second._path}.",
                hint="Use `find_all`, or a condition that holds for one.",
            )
        return first

    def find_all(self, cond_fn: Callable[[str, Node], bool]) -> Generator[Cursor[Node]]:
        """The cursors of all objects for which a condition holds, from the outside in.

        Args:
          cond_fn: takes the path, such as "encoder/layers/0", and the object. It isn't called
            inside an object for which it holds.

        >>> c = cursor({"a": 1, "b": [2, "x"]})
        >>> for part in c.find_all(lambda path, x: isinstance(x, int)):
        ...     _ = part.set(part * 10)
        >>> c.build()
        {'a': 10, 'b': [20, 'x']}
        """
        for path in _traverse_tree((), self.build(), cond_fn=cond_fn):
            yield self._at(path)

    def _at(self, path: _Path) -> Cursor[Node]:
        at: Cursor[Node] = self
        for key, access in path:
            at = at[key] if access is AccessType.ITEM else getattr(at, key)
        return at

    # As the value.

    def __str__(self) -> str:
        return str(self.build())

    def __repr__(self) -> str:
        return self._pretty_repr()

    def _pretty_repr(self) -> str:
        changes = "".join(
            f"\n    {_indented(f'{key!r}: ', child._pretty_repr(), 4)},"
            for key, child in self._changes.items()
        ).removesuffix(",")
        obj = repr(self._obj).replace("\n", "\n  ")
        end = "\n  }" if changes else "}"
        return f"Cursor(\n  _obj={obj},\n  _changes={{{changes}{end}\n)"

    def __len__(self) -> int:
        return len(_value_of(self))

    def __bool__(self) -> bool:
        return bool(self.build())

    def __iter__(self) -> Iterator[Cursor[Node]]:
        _require_order(self._obj, "iter")
        return (self[i] for i in range(len(self)))

    def __reversed__(self) -> Iterator[Cursor[Node]]:
        _require_order(self._obj, "reversed")
        return (self[i] for i in reversed(range(len(self))))

    def __round__(self, ndigits: int | None = None) -> Node:
        return round(_value_of(self), ndigits)

    def __eq__(self, other: object) -> Node:
        return self.build() == _value_of(other)

    def __ne__(self, other: object) -> Node:
        return self.build() != _value_of(other)

    __hash__ = None  # type: ignore[assignment]  # It changes.

    if TYPE_CHECKING:  # Set by the loops below.

        def __add__(self, other: object, /) -> Node: ...
        def __radd__(self, other: object, /) -> Node: ...
        def __sub__(self, other: object, /) -> Node: ...
        def __rsub__(self, other: object, /) -> Node: ...
        def __mul__(self, other: object, /) -> Node: ...
        def __rmul__(self, other: object, /) -> Node: ...
        def __matmul__(self, other: object, /) -> Node: ...
        def __rmatmul__(self, other: object, /) -> Node: ...
        def __truediv__(self, other: object, /) -> Node: ...
        def __rtruediv__(self, other: object, /) -> Node: ...
        def __floordiv__(self, other: object, /) -> Node: ...
        def __rfloordiv__(self, other: object, /) -> Node: ...
        def __mod__(self, other: object, /) -> Node: ...
        def __rmod__(self, other: object, /) -> Node: ...
        def __divmod__(self, other: object, /) -> Node: ...
        def __rdivmod__(self, other: object, /) -> Node: ...
        def __pow__(self, other: object, /) -> Node: ...
        def __rpow__(self, other: object, /) -> Node: ...
        def __lshift__(self, other: object, /) -> Node: ...
        def __rlshift__(self, other: object, /) -> Node: ...
        def __rshift__(self, other: object, /) -> Node: ...
        def __rrshift__(self, other: object, /) -> Node: ...
        def __and__(self, other: object, /) -> Node: ...
        def __rand__(self, other: object, /) -> Node: ...
        def __xor__(self, other: object, /) -> Node: ...
        def __rxor__(self, other: object, /) -> Node: ...
        def __or__(self, other: object, /) -> Node: ...
        def __ror__(self, other: object, /) -> Node: ...
        def __lt__(self, other: object, /) -> Node: ...
        def __le__(self, other: object, /) -> Node: ...
        def __gt__(self, other: object, /) -> Node: ...
        def __ge__(self, other: object, /) -> Node: ...
        def __neg__(self) -> Node: ...
        def __pos__(self) -> Node: ...
        def __abs__(self) -> Node: ...
        def __invert__(self) -> Node: ...


def cursor(obj: A) -> Cursor[A]:
    """A cursor that points at a tree: a nest of dicts, lists, tuples and dataclasses.

    Args:
      obj: the tree; it is never changed.

    >>> cursor({"a": [1, 2]})["a"][0].set(5)
    {'a': [5, 2]}
    """
    return Cursor(_value_of(obj), None)


_OWN = {"_obj", "_parent_key", "_changes"}


def _value_of(value: Node) -> Node:
    return value.build() if isinstance(value, Cursor) else value


def _indented(before: str, text: str, column: int) -> str:
    return before + text.replace("\n", "\n" + " " * (column + len(before)))


def _require_order(obj: object, function: str) -> None:
    if not isinstance(obj, (list, tuple)):
        # The class that programs written for Flax may catch.
        raise NotImplementedError(
            f"{function}() of a cursor needs a list or tuple, got {describe(obj)}.\n"
            "  Loop over the object itself, and take the cursor's items by their keys."
        )


# What objects are made of. Dataclasses and named tuples have fields; a mapping has keys.


def _fields(obj: object) -> list[str] | None:
    if is_named_tuple(obj):
        return list(obj._fields)  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return [field.name for field in dataclasses.fields(obj) if field.init]
    return None


def _parts(obj: object) -> Iterator[tuple[Key, AccessType, Node]]:
    fields = _fields(obj)
    if fields is not None:
        for name in fields:
            yield name, AccessType.ATTR, getattr(obj, name)
    elif isinstance(obj, Mapping):
        for key, value in obj.items():
            yield key, AccessType.ITEM, value
    elif isinstance(obj, (list, tuple)):
        for index, value in enumerate(obj):
            yield index, AccessType.ITEM, value


def _way(obj: Node, key: Key, access: AccessType) -> tuple[Key, AccessType]:
    """A key in the one form by which changes are kept."""
    if isinstance(key, slice):
        raise ArgumentTypeError(
            f"A cursor takes one index at a time, got {key}.",
            hint="Set the items one by one, or the whole list or tuple with `set`.",
        )
    if isinstance(obj, (list, tuple)) and hasattr(key, "__index__"):
        index = operator.index(key)
        if not -len(obj) <= index < len(obj):
            size = counted(len(obj), "item")
            raise IndexError(f"index {index} is out of range: {describe(obj)} has {size}")
        index %= len(obj)
        return (_fields(obj)[index], AccessType.ATTR) if is_named_tuple(obj) else (index, access)  # type: ignore[index]
    return key, access


def _part(obj: Node, key: Key, access: AccessType) -> Node:
    if access is AccessType.ITEM:
        if not hasattr(obj, "__getitem__"):
            raise ArgumentTypeError(
                f"{describe(obj)} has no items, so no item {key!r}.",
                hint=f"Write `.{key}` for an attribute." if isinstance(key, str) else None,
            )
        try:
            return obj[key]
        except KeyError:
            known = [k for k in obj if isinstance(k, str)] if isinstance(obj, Mapping) else []
            raise KeyError(f"no key {key!r}. {did_you_mean(str(key), known)}") from None
    try:
        return getattr(obj, key)
    except AttributeError:
        fields = _fields(obj)
        help = f" {did_you_mean(key, fields)}" if fields else ""
        raise AttributeError(f"{describe(obj)} has no attribute {key!r}.{help}") from None


def _require_editable(obj: Node, key: Key, access: AccessType) -> None:
    fields = _fields(obj)
    item = access is AccessType.ITEM
    if fields is not None and not item:
        if key not in fields:
            raise AttributeError(
                f"{type(obj).__name__} has no field {key!r}. {did_you_mean(key, fields)}"
            )
    elif fields is not None:
        raise ArgumentTypeError(
            f"{type(obj).__name__} has fields, not items: got {key!r}.",
            hint=f"Write `.{key} = ...`.",
        )
    elif not isinstance(obj, (Mapping, list, tuple)):
        raise ArgumentTypeError(
            f"A cursor can't replace a part of {describe(obj)}.",
            hint="Cursors follow mappings, lists, tuples, and dataclasses. Set the whole object.",
        )
    elif not item:
        raise ArgumentTypeError(
            f"{describe(obj)} has items, not fields: got {key!r}.",
            hint=f"Write `[{key!r}] = ...`." if isinstance(obj, Mapping) else None,
        )
    elif not isinstance(obj, Mapping) and not isinstance(key, int):
        raise ArgumentTypeError(
            f"Items of a {type(obj).__name__} are reached by integers, got {key!r}.",
            hint="Write `[0] = ...` for the first.",
        )


def _replaced(obj: Node, changes: dict[Key, Node]) -> Node:
    """A copy of `obj` with new parts; only those that can be replaced differ from `obj`'s."""
    fields = _fields(obj)
    if fields is not None:
        changes = {k: v for k, v in changes.items() if v is not getattr(obj, k)}
        if not changes:
            return obj
        return obj._replace(**changes) if is_named_tuple(obj) else _replace(obj, changes)
    if isinstance(obj, Mapping):
        if not isinstance(obj, MutableMapping):
            return type(obj)({**obj, **changes})  # type: ignore[call-arg]
        new = copy.copy(obj)
        for key, value in changes.items():
            new[key] = value
        return new
    if isinstance(obj, (list, tuple)) and any(v is not obj[k] for k, v in changes.items()):
        return type(obj)(changes.get(i, value) for i, value in enumerate(obj))
    return copy.copy(obj) if isinstance(obj, list) else obj


def _replace(obj: Node, changes: dict[str, Node]) -> Node:
    # A module's `clone` keeps its place and name.
    clone = getattr(obj, "clone", None)
    return clone(**changes) if callable(clone) else dataclasses.replace(obj, **changes)


def _traverse_tree(
    path: _Path,
    obj: object,
    *,
    update_fn: Callable[[str, Node], Node] | None = None,
    cond_fn: Callable[[str, Node], bool] | None = None,
) -> Generator[Node]:
    """Paths of the parts for which a condition holds, or paths with the parts to put there."""
    if (update_fn is None) == (cond_fn is None):
        raise TraverseTreeError("Give either `update_fn` or `cond_fn`, and not both.")
    for key, access, part in _parts(obj):
        here = (*path, (key, access))
        text = "/".join(str(k) for k, _ in here)
        if update_fn is not None:
            new = update_fn(text, part)
            if new is not part:
                yield here, new
                continue
        elif cond_fn is not None and cond_fn(text, part):
            yield here
            continue
        yield from _traverse_tree(here, part, update_fn=update_fn, cond_fn=cond_fn)


def _operator(name: str) -> Callable[..., Node]:
    return divmod if name == "divmod" else getattr(operator, f"__{name}__")


def _binary(name: str) -> tuple[Callable[..., Node], Callable[..., Node]]:
    apply = _operator(name)

    def forward(self: Cursor[Node], other: object) -> Node:
        return apply(self.build(), _value_of(other))

    def backward(self: Cursor[Node], other: object) -> Node:
        return apply(_value_of(other), self.build())

    return forward, backward


def _unary(name: str) -> Callable[[Cursor[Node]], Node]:
    apply = _operator(name)
    return lambda self: apply(self.build())


def _define(name: str, function: Callable[..., Node], of: str) -> None:
    function.__name__ = f"__{name}__"
    function.__qualname__ = f"Cursor.__{name}__"
    function.__doc__ = f"`{of}` of the value."
    setattr(Cursor, f"__{name}__", function)


for _name, _symbol in _SYMBOLS.items():
    _forward, _backward = _binary(_name)
    _define(_name, _forward, _symbol)
    _define(f"r{_name}", _backward, _symbol)
for _name, _symbol in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")):
    _define(_name, _binary(_name)[0], _symbol)
for _name, _symbol in (("neg", "-"), ("pos", "+"), ("abs", "abs"), ("invert", "~")):
    _define(_name, _unary(_name), _symbol)
