"""`Pytree`: an object with an identity whose attributes form a tree.

Modules, streams of random keys, optimizers and metrics are `Pytree`s. The core uses the slots of
the class, which never appear among the attributes: `_nnx_structure` is the cached structure of the
object (see `snapshot`), and `_nnx_stamp` is the trace level at which it was made.

Attributes are stored in `__dict__` and read without overhead. Assigning one checks the trace level
and counts an edit, so that cached structures are checked again.

Every subclass is a jax pytree: its children are the data attributes by name; everything else is in
the structure. jax's transforms therefore accept modules, though without sharing or updates.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Self,
    SupportsIndex,
    TypeVar,
    dataclass_transform,
)

import jax

from ...arrays import check_is_here
from ...defaults import is_default
from ...errors import ArgumentError, ArgumentTypeError, describe
from ...field_order import made_dataclass
from ...notebook import as_html
from ...typing import PyTree
from . import edits
from .constructors import check_keywords
from .contents import attribute_names, holds_data, is_pure_data, iter_data, path_name, split_static
from .kinds import DICT, LIST, OBJECT, TREE, VARIABLE, kind_of
from .marks import Marked, declared_marks
from .representation import Entries, represent, treescope_of
from .statics import static_key

if TYPE_CHECKING:
    from .contents import Skeleton

T = TypeVar("T")


class Pytree:
    """Base class of all objects whose attributes nnx transforms see.

    A subclass defined with the class keyword `pytree=False` isn't registered as a jax pytree;
    nnx's functions treat it the same.
    """

    # `List[int]()` sets `__orig_class__`, for `typing`; it isn't part of the tree.
    __slots__ = (
        "__dict__",
        "__orig_class__",
        "__weakref__",
        "_nnx_marks",
        "_nnx_stamp",
        "_nnx_structure",
    )

    if TYPE_CHECKING:  # `typing.get_type_hints` of a model lists its attributes, and not these
        _declared_marks: ClassVar[Mapping[str, bool]]
        _has_marks: ClassVar[bool]
        _nnx_kind: ClassVar[int]

    _declared_marks = MappingProxyType({})
    _has_marks = False  # whether the class or any instance has marks
    _is_pytree = True
    _nnx_kind = OBJECT
    _serialization_hint = (  # of linnet.struct.serialization
        "Serialize the values of its state, to_bytes(nnx.to_pure_dict(nnx.state(module))), and "
        "restore them with nnx.replace_by_pure_dict(state, msgpack_restore(encoded)) and "
        "nnx.update(module, state)."
    )

    def __init_subclass__(cls, *, pytree: bool = True, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if any(vars(cls).get("__slots__", ())):
            raise ArgumentTypeError(
                f"{cls.__name__} has __slots__: only what is in the __dict__ of an nnx object is"
                " part of its structure.",
                hint="Remove __slots__.",
            )
        cls.__abstractmethods__ = abstract_names(cls)  # type: ignore[attr-defined]
        cls._declared_marks = declared_marks(cls)
        cls._has_marks = bool(cls._declared_marks)
        cls._is_pytree = pytree
        if pytree:
            _register(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if kwargs:
            check_keywords(cls, kwargs)
        new = super().__new__
        if new is not object.__new__:  # another base defines it
            return new(cls, *args, **kwargs)
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments")  # as without a `__new__`
        return new(cls)

    def __setattr__(self, name: str, value: object) -> None:
        now = edits.trace_state()
        try:
            stamp = _get_stamp(self)
        except AttributeError:
            stamp = now
            _set_stamp(self, edits.stamp())
        if stamp != now:
            edits.check_trace(stamp, self._nnx_description)
        if type(self)._has_marks or isinstance(value, Marked):
            value = _with_mark(self, name, value)
        object.__setattr__(self, name, value)  # also handles properties, slots and `__class__`
        edits.count[0] += 1
        if name in _IDENTITY:
            edits.replaced[0] += 1
            if own_marks(self):
                type(self)._has_marks = True

    def __delattr__(self, name: str) -> None:
        edits.check_trace(_get_stamp(self), self._nnx_description)
        object.__delattr__(self, name)
        edits.count[0] += 1

    def __getstate__(self) -> dict[str, Any]:
        marks = own_marks(self)
        return {**self.__dict__, "_nnx_marks": marks} if marks else dict(self.__dict__)

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> str | tuple[Any, ...]:
        # deepcopy calls this too, and a copy may hold any arrays.
        if jax.distributed.is_initialized() and sys._getframe(1).f_globals["__name__"] != "copy":
            _check_is_here(self)
        return super().__reduce_ex__(protocol)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_pytree__nodes" in state:
            adopt(self, state)
            return
        marks = state.pop("_nnx_marks", None)
        _set_stamp(self, edits.stamp())
        if marks:
            _set_marks(self, marks)
        self.__dict__.update(state)

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Attributes that Flax's class of the same name lacks, with values that disable them."""
        return {}

    def __copy__(self) -> Self:
        new = new_object(type(self))
        new.__setstate__(self.__getstate__())
        return new

    def _nnx_description(self) -> str:
        return repr(type(self).__name__)

    def _nnx_entries(self) -> Entries:
        cls = type(self)
        shown = {k: v for k, v in self.__dict__.items() if k != "_length"}
        items = [(path_name(cls, k), v) for k, v in shown.items() if not is_default(cls, k, v)]
        if items and all(isinstance(k, int) for k, _ in items):
            return Entries(f"{cls.__name__}([", "])", [("", v) for _, v in items], "")
        return Entries(f"{cls.__name__}(", ")", items, "=", sized=True)

    def __repr__(self) -> str:
        return represent(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __treescope_repr__(self, path: object, subtree_renderer: object) -> object:
        return treescope_of(self, self.__dict__, path, subtree_renderer)


def check_pytree(pytree: PyTree) -> None:
    """Checks that an nnx object is a valid tree: no attribute that is marked static holds data.

    Raises:
      ArgumentTypeError: the argument is not an nnx object.
      ArgumentError: a static attribute holds data, which bypassed the check on assignment.
    """
    if not isinstance(pytree, Pytree):
        raise ArgumentTypeError(f"Expected a Pytree, got {describe(pytree)}.")
    marks = marks_of(pytree)
    for name, value in pytree.__dict__.items():
        if marks.get(name) is False:
            _refuse_data(pytree, name, value)


Object = Pytree
"""An older name for `Pytree`."""

_slots: Any = vars(Pytree)
_set_stamp = _slots["_nnx_stamp"].__set__
_get_stamp = _slots["_nnx_stamp"].__get__
_put_marks = _slots["_nnx_marks"].__set__
_get_marks = _slots["_nnx_marks"].__get__
get_stamp = _get_stamp
set_structure = _slots["_nnx_structure"].__set__
get_structure = _slots["_nnx_structure"].__get__


def new_object(cls: type[T], stamp: object = None) -> T:
    """An object without attributes, with the current stamp by default; skips `__init__`."""
    new = object.__new__(cls)
    _set_stamp(new, edits.stamp() if stamp is None else stamp)
    return new


def adopt(obj: Pytree, state: Mapping[str, Any]) -> None:
    """Gives a new object the attributes that an object of Flax's had.

    Flax records for each attribute whether it is data. A mark is set where this doesn't follow from
    the value, and for containers of data, which Flax programs have to mark.
    """
    attributes = {k: v for k, v in state.items() if not k.startswith("_pytree__")}
    attributes = {**type(obj)._beyond_flax(attributes), **attributes}
    _set_stamp(obj, edits.stamp())
    obj.__dict__.update(attributes)
    said: Mapping[str, bool] = state.get("_pytree__nodes", {})
    marks = marks_of(obj)
    added = {
        name: is_data
        for name, is_data in said.items()  # in the order in which the attributes were set
        if (value := attributes.get(name)) is not None  # None is static in Flax, whatever its mark
        and is_data != marks.get(name)
        and (is_data != holds_data(value) or (is_data and kind_of(value) in _CONTAINERS))
    }
    if added:
        _set_marks(obj, {**marks, **added})


_CONTAINERS = frozenset((LIST, DICT, TREE))


def own_marks(obj: Pytree) -> dict[str, bool] | None:
    """The marks set on this object itself, if any."""
    try:
        marks: dict[str, bool] = _get_marks(obj)
    except AttributeError:
        return None
    return marks


def marks_of(obj: Pytree) -> Mapping[str, bool]:
    """The marks of an object's attributes: maps names to whether they are data."""
    return own_marks(obj) or type(obj)._declared_marks


def set_mark(obj: Pytree, name: str, is_data: bool) -> None:
    """Marks an attribute as data or static."""
    _set_marks(obj, {**marks_of(obj), name: is_data})


def _set_marks(obj: Pytree, marks: dict[str, bool]) -> None:
    _put_marks(obj, marks)
    if not type(obj)._has_marks:
        type(obj)._has_marks = True


_IDENTITY = frozenset({"__class__", "__dict__"})


def _with_mark(obj: Pytree, name: str, value: object) -> object:
    """Records the mark of a value to be assigned, and returns the value without it.

    Raises:
      ArgumentError: the attribute is static, and the value holds data.
    """
    is_data = marks_of(obj).get(name)
    if isinstance(value, Marked):
        is_data, value = value.is_data, value.value
        set_mark(obj, name, is_data)
    if is_data is False:
        _refuse_data(obj, name, value)
    return value


def _refuse_data(obj: Pytree, name: str, value: object) -> None:
    if type(obj)._is_pytree and not all(
        isinstance(x, jax.ShapeDtypeStruct) for x in iter_data(value)
    ):
        raise ArgumentError(
            f"{type(obj).__name__}.{name} is marked as static, but {describe(value)} holds"
            " data (arrays, variables or modules), which transforms must see.",
            hint="Leave out nnx.static, or its annotation: data is recognized without a mark.",
        )


def abstract_names(cls: type) -> frozenset[str]:
    """The names of a class's abstract methods, as `abc.ABCMeta` finds them.

    Python raises an error when a class with any is instantiated. This needs no metaclass, which
    might conflict with a user's.
    """
    names = {name for name, value in vars(cls).items() if _is_abstract(value)}
    for base in cls.__bases__:
        for name in getattr(base, "__abstractmethods__", ()):
            if _is_abstract(getattr(cls, name, None)):
                names.add(name)
    return frozenset(names)


def _is_abstract(value: object) -> bool:
    return getattr(value, "__isabstractmethod__", False) is True


def attribute_items(obj: Pytree) -> Iterator[tuple[Any, Any]]:
    """Yields attributes sorted by name; the keys of lists are ints."""
    attributes = obj.__dict__
    for name in attribute_names(obj):
        yield name, attributes[name]


class _Static:
    """The static attributes in a tree's structure."""

    __slots__ = ("_key", "data", "items", "marks")

    def __init__(
        self, data: tuple[str, ...], items: dict[str, Any], marks: dict[str, bool] | None
    ) -> None:
        self.data = data
        self.items = items
        self.marks = marks
        self._key: Any = None

    def key(self) -> object:
        if self._key is None:
            self._key = (self.data, tuple((k, static_key(v)) for k, v in self.items.items()))
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return repr(self.items)


class _Mixed:
    """A container of data and static values as one child, since a jax leaf must be data."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _flatten_mixed(mixed: _Mixed) -> tuple[list[Any], Any]:
    return split_static(mixed.value)


def _unflatten_mixed(aux: Skeleton, children: Iterable[Any]) -> _Mixed:
    return _Mixed(aux.fill(children))


jax.tree_util.register_pytree_node(_Mixed, _flatten_mixed, _unflatten_mixed)


def _register(cls: type[Pytree]) -> None:
    def split(obj: Pytree) -> tuple[list[tuple[str, Any]], _Static]:
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

    def entry(name: str) -> object:
        key = path_key(name)
        is_index = isinstance(key, int)
        return jax.tree_util.SequenceKey(key) if is_index else jax.tree_util.GetAttrKey(name)

    def flatten_with_keys(obj: Pytree) -> tuple[list[tuple[Any, Any]], _Static]:
        children, static = split(obj)
        return [(entry(name), value) for name, value in children], static

    def flatten(obj: Pytree) -> tuple[list[Any], _Static]:
        children, static = split(obj)
        return [value for _, value in children], static

    def unflatten(static: _Static, children: Iterable[Any]) -> Pytree:
        new = new_object(cls)
        if static.marks:
            _set_marks(new, static.marks)
        attributes = new.__dict__
        attributes.update(static.items)
        for name, value in zip(static.data, children, strict=True):
            attributes[name] = value.value if type(value) is _Mixed else value
        return new

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def _check_is_here(root: Pytree) -> None:
    """Checks that this process can read all arrays of an object."""
    seen: dict[int, object] = {}

    def visit(value: object, path: tuple[str, ...]) -> None:
        kind = kind_of(value)
        if kind in (OBJECT, LIST, DICT):
            if id(value) in seen:
                return
            seen[id(value)] = value
            for name, child in _children(value):
                visit(child, (*path, str(name)))
            return
        for x in jax.tree.leaves(value.raw_value if kind == VARIABLE else value):  # type: ignore[attr-defined]
            if kind_of(x) == OBJECT:
                visit(x, path)
            else:
                check_is_here(x, f"{type(root).__name__}: {'/'.join(path)!r}", "pickled")

    visit(root, ())


def _children(value: Any) -> Iterable[tuple[object, object]]:
    if isinstance(value, Pytree):
        return [(path_name(type(value), name), child) for name, child in vars(value).items()]
    return value.items() if isinstance(value, Mapping) else enumerate(value)


@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(cls: Any = None, /, **options: Any) -> Any:
    """`dataclasses.dataclass` for modules, with fields `nnx.data()` and `nnx.static()`.

    Instances compare by identity, like all modules, unless `eq=True` is given.

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
    made = made_dataclass(cls, dataclasses.dataclass(**options), "nnx.dataclass(kw_only=True)")
    made._declared_marks = declared_marks(made)
    made._has_marks = made._has_marks or bool(made._declared_marks)
    return made
