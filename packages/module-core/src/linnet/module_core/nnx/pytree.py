"""`Pytree`: an object whose attributes are a tree, and which has an identity.

Modules, streams of random keys, optimizers and metrics are all of this kind. Two of its slots serve
the core and never appear among the attributes: `_structure`, what was remembered of the object's
structure (see `snapshot`), and `_stamp`, the trace level that it was made at.

Attributes live in `__dict__`, and reading one is Python's own. Assigning one checks the trace level
and counts an edit, so that remembered structures are looked at again.

Every subclass is a pytree of jax: children are the data attributes by name, everything else is in
the structure. jax's own transforms therefore take modules, though without sharing or updates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar, dataclass_transform

import jax

from . import edits
from .marks import Marked, declared_marks

T = TypeVar("T")


class Pytree:
    """Base of everything that nnx transforms see inside of.

    A subclass written with `pytree=False` in its class line isn't registered as a pytree of jax;
    nnx's own functions treat it the same.
    """

    # `__orig_class__` is what `List[int]()` sets, for those who ask typing: it isn't in the tree.
    __slots__ = ("__dict__", "__orig_class__", "__weakref__", "_marks", "_stamp", "_structure")

    _declared_marks: ClassVar[dict[str, bool]] = {}
    _is_pytree = True
    _serialization_hint: ClassVar[str] = (  # of linnet.struct.serialization
        "Write the values of its state, to_bytes(nnx.to_pure_dict(nnx.state(module))), and put them"
        " back with nnx.replace_by_pure_dict(state, msgpack_restore(encoded)) and"
        " nnx.update(module, state)."
    )

    def __init_subclass__(cls, *, pytree: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declared_marks = declared_marks(cls)
        cls._is_pytree = pytree
        if pytree:
            _register(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        now = edits.trace_state()
        try:
            stamp = _get_stamp(self)
        except AttributeError:
            stamp = now
            _set_stamp(self, edits.stamp())
        if stamp != now:
            edits.check_trace(stamp, self._description)
        if isinstance(value, Marked):
            set_mark(self, name, value.is_data)
            value = value.value
        kind = getattr(type(self), name, None)
        if kind is not None and hasattr(type(kind), "__set__"):  # a property, say
            object.__setattr__(self, name, value)
            return
        self.__dict__[name] = value
        edits.count[0] += 1

    def __delattr__(self, name: str) -> None:
        edits.check_trace(_get_stamp(self), self._description)
        object.__delattr__(self, name)
        edits.count[0] += 1

    def __getstate__(self) -> dict[str, Any]:
        marks = own_marks(self)
        return {**self.__dict__, "_marks": marks} if marks else dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        marks = state.pop("_marks", None)
        _set_stamp(self, edits.stamp())
        if marks:
            _set_marks(self, marks)
        self.__dict__.update(state)

    def __copy__(self) -> Any:
        new = new_object(type(self))
        new.__setstate__(self.__getstate__())
        return new

    def _description(self) -> str:
        return repr(type(self).__name__)

    def __repr__(self) -> str:
        from .representation import represent

        return represent(self)

    def __treescope_repr__(self, path: Any, subtree_renderer: Any) -> Any:
        from .representation import treescope_of

        return treescope_of(self, path, subtree_renderer)


Object = Pytree
"""An older name of `Pytree`."""

_slots: Any = vars(Pytree)
_set_stamp = _slots["_stamp"].__set__
_get_stamp = _slots["_stamp"].__get__
_set_marks = _slots["_marks"].__set__
_get_marks = _slots["_marks"].__get__
set_structure = _slots["_structure"].__set__
get_structure = _slots["_structure"].__get__


def new_object(cls: type[T], stamp: Any = None) -> T:
    """An object without attributes, made now unless a stamp is given; `__init__` doesn't run."""
    new = object.__new__(cls)
    _set_stamp(new, edits.stamp() if stamp is None else stamp)
    return new


def own_marks(obj: Pytree) -> dict[str, bool] | None:
    """The marks that were set on this very object, if any."""
    try:
        marks: dict[str, bool] = _get_marks(obj)
    except AttributeError:
        return None
    return marks


def marks_of(obj: Pytree) -> dict[str, bool]:
    """What the user said of the attributes: name to whether it is data."""
    return own_marks(obj) or type(obj)._declared_marks


def set_mark(obj: Pytree, name: str, is_data: bool) -> None:
    """Records that an attribute is data, or static."""
    _set_marks(obj, {**marks_of(obj), name: is_data})


def attribute_items(obj: Pytree) -> Iterator[tuple[Any, Any]]:
    """Attributes by sorted name; keys that lists use are ints."""
    from .structure import attribute_names

    attributes = obj.__dict__
    for name in attribute_names(obj):
        yield name, attributes[name]


class _Static:
    """Static attributes in a tree's structure."""

    __slots__ = ("_key", "data", "items", "marks")

    def __init__(self, data: tuple[str, ...], items: dict[str, Any], marks: Any) -> None:
        self.data = data
        self.items = items
        self.marks = marks
        self._key: Any = None

    def key(self) -> Any:
        if self._key is None:
            from .statics import static_key

            self._key = (self.data, tuple((k, static_key(v)) for k, v in self.items.items()))
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return repr(self.items)


class _Mixed:
    """A container of data and static values, as one child: a jax leaf must be data."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _flatten_mixed(mixed: _Mixed) -> tuple[list[Any], Any]:
    from .structure import split_static

    return split_static(mixed.value)


def _unflatten_mixed(aux: Any, children: Any) -> _Mixed:
    return _Mixed(aux.fill(children))


jax.tree_util.register_pytree_node(_Mixed, _flatten_mixed, _unflatten_mixed)


def _register(cls: type[Pytree]) -> None:
    def split(obj: Pytree) -> tuple[list[tuple[str, Any]], _Static]:
        from .structure import holds_data, is_pure_data

        marks = marks_of(obj)
        children: list[tuple[str, Any]] = []
        static: dict[str, Any] = {}
        for name, value in attribute_items(obj):
            mark = marks.get(name)
            if mark is False or (mark is None and not holds_data(value)):
                static[name] = value
            elif mark or is_pure_data(value):
                children.append((name, value))
            else:
                children.append((name, _Mixed(value)))
        names = tuple(name for name, _ in children)
        return children, _Static(names, static, own_marks(obj))

    path_key = getattr(cls, "_path_key", lambda name: name)

    def entry(name: str) -> Any:
        key = path_key(name)
        is_index = isinstance(key, int)
        return jax.tree_util.SequenceKey(key) if is_index else jax.tree_util.GetAttrKey(name)

    def flatten_with_keys(obj: Pytree) -> tuple[list[tuple[Any, Any]], _Static]:
        children, static = split(obj)
        return [(entry(name), value) for name, value in children], static

    def flatten(obj: Pytree) -> tuple[list[Any], _Static]:
        children, static = split(obj)
        return [value for _, value in children], static

    def unflatten(static: _Static, children: Any) -> Pytree:
        new = new_object(cls)
        if static.marks:
            _set_marks(new, static.marks)
        attributes = new.__dict__
        attributes.update(static.items)
        for name, value in zip(static.data, children, strict=True):
            attributes[name] = value.value if type(value) is _Mixed else value
        return new

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(cls: Any = None, /, **options: Any) -> Any:
    """`dataclasses.dataclass` for modules, whose fields may be `nnx.data()` or `nnx.static()`.

    Equality stays identity, as for every module, unless `eq=True` is given.

    >>> from linnet.module_core import nnx
    >>> @nnx.dataclass
    ... class Scale(nnx.Module):
    ...     factor: nnx.Param
    ...     name: str = "scale"
    >>> Scale(nnx.Param(2.0)).name
    'scale'
    """
    if cls is None:
        return lambda c: dataclass(c, **options)
    options = {"eq": False, "repr": False, **options}
    for name, default in list(vars(cls).items()):
        if isinstance(default, Marked):
            setattr(
                cls,
                name,
                dataclasses.field(default=default.value, metadata={"nnx.data": default.is_data}),
            )
    made = dataclasses.dataclass(cls, **options)
    made._declared_marks = declared_marks(made)
    return made
