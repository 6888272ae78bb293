"""Turns a module's class into a dataclass.

The fields are those that the user annotates, in the order of the annotations, then `parent` and
`name`, which every module has and which are keyword-only, so that a subclass may add required
fields. Everything about a class's fields is computed here, once.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._compat import own_annotations
from ..errors import ReservedModuleAttributeError
from ..field_order import made_dataclass
from .mistyped import not_fields

if TYPE_CHECKING:
    from .module import Module

RESERVED = ("parent", "name")


def make_dataclass(cls: type, kw_only: bool, *, base: bool = False) -> frozenset[str]:
    """Turns `cls` into a dataclass in place; returns the names of its constructor's fields.

    Args:
      cls: a module class.
      kw_only: whether all fields that it adds are keyword-only.
      base: whether it is the class that defines `parent` and `name`.

    Raises:
      ReservedModuleAttributeError: `name` or `parent` is annotated as something else.
    """
    if not base:
        _check_reserved(cls)
    for value in vars(cls).values():
        if isinstance(value, dataclasses.Field) and not value.init:
            # Not a constructor argument: it is set in `setup`, and never compared.
            value.compare = value.hash = value.repr = False
    for inherited in cls.__mro__[1:]:
        for field in vars(inherited).get("__dataclass_fields__", {}).values():
            _restore_missing(field)
    # Equality and hash are inherited: generating them for each class would take most of the import
    # time of a package of layers.
    own_init = "__init__" in vars(cls)
    make = dataclasses.dataclass(eq=False, repr=False, kw_only=kw_only)
    made_dataclass(cls, make, f"class {cls.__name__}({_bases(cls)}, kw_only=True)")
    if not own_init:
        cls.__init__ = _with_suggestions(cls.__init__)  # type: ignore[misc]
    fields: dict[str, dataclasses.Field[Any]] = cls.__dataclass_fields__  # type: ignore[attr-defined]
    if base:  # programs that collect a model's fields should not see its class variables
        for name in fields.keys() - {f.name for f in dataclasses.fields(cls)}:
            del fields[name]
    for name in RESERVED:
        fields[name] = fields.pop(name)
    return frozenset(f.name for f in fields.values() if f.init)


def _restore_missing(field: dataclasses.Field[Any]) -> None:
    """Removes a field's default again if pickling its class by value has copied `MISSING`.

    dataclasses compares by identity, so a subclass would mistake the copy for a default.
    """
    for name in ("default", "default_factory", "kw_only"):
        if type(getattr(field, name)) is type(dataclasses.MISSING):
            setattr(field, name, dataclasses.MISSING)


def _bases(cls: type) -> str:
    return ", ".join(base.__name__ for base in cls.__bases__)


def _with_suggestions(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose error for an unknown argument lists the fields."""

    @functools.wraps(init)
    def __init__(self: object, *args: object, **kwargs: object) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            mistake = not_fields(error, type(self), args, kwargs)
            if mistake is None:
                raise
            raise mistake from None

    return __init__


def _check_reserved(cls: type) -> None:
    annotations = own_annotations(cls)
    if annotations.keys().isdisjoint(RESERVED):
        return
    wrong = {}
    for name in RESERVED:
        if name not in annotations:
            continue
        annotation = annotations.pop(name)
        if name == "parent" or not _is_optional_str(annotation):
            wrong[name] = annotation
        elif name in vars(cls):
            default = vars(cls)[name]
            # The name has a default: keep it as a keyword-only field.
            setattr(cls, name, dataclasses.field(default=default, kw_only=True))
            annotations[name] = annotation
    cls.__annotations__ = annotations
    if wrong:
        raise ReservedModuleAttributeError(
            f"Class {cls.__name__}: properties `parent` and `name` are reserved: {wrong}.",
            hint="Every module has them; give your field a different name.",
        )


def _is_optional_str(annotation: object) -> bool:
    if isinstance(annotation, typing.ForwardRef):  # a union with a name that isn't defined yet
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return annotation.replace(" ", "") in ("str", "str|None", "None|str", "Optional[str]")
    return annotation is str or annotation == str | None


def equal(self: Module, other: object) -> bool:
    """Whether two modules have the same class and equal values in all compared fields.

    Name and parent are compared as well.
    """
    compared = [f.name for f in dataclasses.fields(self) if f.compare]
    if type(self) is not type(other):
        return False
    pairs = ((getattr(self, name), getattr(other, name)) for name in compared)
    return all(a is b or bool(a == b) for a, b in pairs)


def hash_fields(self: Module) -> int:
    """Hashes the fields that are compared.

    Raises:
      TypeError: the module is bound, or a field cannot be hashed.
    """
    if self.__dict__.get("scope") is not None:
        raise TypeError(
            "A bound module has no hash, because its variables may change: "
            f"{type(self).__name__}. Use module.unbind() or the original, unbound module. For a "
            "transform of jax, use linen's: nn.remat(Dense)(features)(x) instead of "
            "jax.checkpoint(Dense(features))(x), and likewise nn.jit, nn.vmap and nn.scan."
        )
    values = tuple(
        (f.name, getattr(self, f.name))
        for f in dataclasses.fields(self)
        if (f.compare if f.hash is None else f.hash)
    )
    try:
        return hash((type(self).__name__, values))
    except TypeError as error:
        bad = [name for name, value in values if not _hashable(value)]
        raise TypeError(
            f"{type(self).__name__} has no hash, because of its fields {', '.join(bad)}: {error}. "
            "Use tuples instead of lists and FrozenDict instead of dicts."
        ) from error


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
