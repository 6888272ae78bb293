"""Immutable dataclasses that are pytrees.

The idea: a class is turned into a frozen `dataclasses.dataclass`, and its fields are divided into
those that hold arrays (children of the pytree) and those that are part of its structure. `jax` does
the rest. JAX flattens an instance and rebuilds it with the constructor, so the constructor's
arguments must equal the instance's attributes: a "smart constructor" that derives some from others
must be a class method, never an `__init__`.

Type checkers learn the constructor from `dataclass_transform`. They cannot see a method that a
decorator adds; for type checking, inherit from `PyTreeNode`, which declares `replace`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar, dataclass_transform, overload

from linnet.struct._errors import did_you_mean, message
from linnet.struct._registration import register
from linnet.struct.field_order import required_after_default

T = TypeVar("T")
TNode = TypeVar("TNode", bound="PyTreeNode")

_MARK = "_linnet_dataclass"
_FIELDS = "_linnet_fields"  # unpickled by value, it registers the class
_MARK_OF_FLAX = "_flax_dataclass"  # libraries look for it in a class


@overload
def field(
    pytree_node: bool = True,
    *,
    default: T,
    init: bool = True,
    repr: bool = True,
    hash: bool | None = None,
    compare: bool = True,
    metadata: Mapping[Any, Any] | None = None,
    kw_only: bool = ...,
) -> T: ...
@overload
def field(
    pytree_node: bool = True,
    *,
    default_factory: Callable[[], T],
    init: bool = True,
    repr: bool = True,
    hash: bool | None = None,
    compare: bool = True,
    metadata: Mapping[Any, Any] | None = None,
    kw_only: bool = ...,
) -> T: ...
@overload
def field(
    pytree_node: bool = True,
    *,
    init: bool = True,
    repr: bool = True,
    hash: bool | None = None,
    compare: bool = True,
    metadata: Mapping[Any, Any] | None = None,
    kw_only: bool = ...,
) -> Any: ...
def field(
    pytree_node: bool = True, *, metadata: Mapping[Any, Any] | None = None, **kwargs: Any
) -> object:
    """A field of a `dataclass` or `PyTreeNode`: a child of the pytree, or part of its structure.

    Args:
      pytree_node: True (the default) for a child of the pytree: an array, or a pytree of arrays.
        False for values that transforms should ignore, such as a function or a name: they are
        compared with `==`, and a jitted function is compiled again when they differ.
      metadata: stored with the field, as in `dataclasses.field`.
      **kwargs: arguments of `dataclasses.field`: `default`, `default_factory`, `kw_only`, …

    Returns:
      A `dataclasses.Field`.

    Raises:
      TypeError: `pytree_node` is not a bool, or `metadata` is not a mapping.

    >>> import jax
    >>> from linnet import struct
    >>> @struct.dataclass
    ... class Scaled:
    ...     value: float
    ...     unit: str = struct.field(pytree_node=False, default="m")
    >>> jax.tree.leaves(Scaled(3.0, "km"))
    [3.0]
    """
    if not isinstance(pytree_node, bool):
        raise TypeError(
            message(
                f"field: pytree_node must be True or False, got {pytree_node!r}.",
                "Pass a default value as field(default=...).",
            )
        )
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"field: metadata must be a mapping, got {type(metadata).__name__}.")
    return dataclasses.field(metadata={**(metadata or {}), "pytree_node": pytree_node}, **kwargs)


@overload
def dataclass(clz: type[T], **kwargs: object) -> type[T]: ...
@overload
def dataclass(clz: None = None, **kwargs: object) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field, dataclasses.field), frozen_default=True)
def dataclass(
    clz: type[T] | None = None, **kwargs: object
) -> type[T] | Callable[[type[T]], type[T]]:
    """Makes a class an immutable dataclass that can be passed through JAX's transforms.

    Use it as `@dataclass`, or with arguments as `@dataclass(kw_only=True)`. Unless the class
    already has a method `replace`, it gets one that returns a copy with some fields changed. A
    subclass of a dataclass must be decorated again; a class that is already decorated is returned
    unchanged.

    Type checkers cannot see methods that a decorator adds: in type-checked code, write
    `dataclasses.replace(point, y=3.0)`, or use `PyTreeNode`.

    Args:
      clz: the class.
      **kwargs: arguments of `dataclasses.dataclass`; `frozen` defaults to True.

    Returns:
      The class (with `slots=True`, a new one), or a decorator if `clz` is not given.

    Raises:
      TypeError: `clz` is not a class, or is already a `dataclasses.dataclass`.
      ValueError: a field has `init=False`, so JAX could not rebuild an instance.

    >>> import jax
    >>> from linnet import struct
    >>> @struct.dataclass
    ... class Point:
    ...     x: float
    ...     y: float
    >>> jax.tree.map(lambda v: 10 * v, Point(1.0, 2.0).replace(y=3.0))
    Point(x=10.0, y=30.0)
    """
    if clz is None:
        return lambda clz: _transform(clz, kwargs)
    return _transform(clz, kwargs)


@dataclass_transform(field_specifiers=(field, dataclasses.field), frozen_default=True)
class PyTreeNode:
    """Base class of immutable dataclasses that can be passed through JAX's transforms.

    Every subclass becomes a `dataclass`; arguments of `dataclasses.dataclass` follow the bases.
    Unlike with the decorator, type checkers recognize `replace`.

    >>> import jax
    >>> from linnet import struct
    >>> class Point(struct.PyTreeNode, kw_only=True):
    ...     x: float
    ...     y: float = 0.0
    >>> jax.tree.map(lambda v: 10 * v, Point(x=1.0).replace(y=3.0))
    Point(x=10.0, y=30.0)
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__()
        if kwargs.get("slots"):
            raise TypeError(
                message(
                    f"{cls.__name__}: slots=True needs a new class, which a base class cannot "
                    "make.",
                    "Decorate a class without bases: @struct.dataclass(slots=True).",
                )
            )
        # A class that is being unpickled by value gets its fields later; see `_registration`.
        own = vars(cls)
        final = "__annotations__" in own or "__annotate_func__" in own  # the latter since 3.14
        _transform(cls, kwargs, final)

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "PyTreeNode has no fields: inherit from it, and make instances of the subclass."
        )

    def replace(self, **overrides: object) -> Self:
        """A copy with some fields changed.

        Args:
          **overrides: new values by field.

        Raises:
          TypeError: there is no such field.
        """
        return _replace(self, overrides)


def is_struct(clz: type) -> bool:
    """Whether `clz` itself, not just one of its bases, is a `dataclass` of this module."""
    return _MARK in vars(clz)


def is_child(field: dataclasses.Field[Any]) -> bool:
    """Whether a field is a child of the pytree, not part of its structure."""
    return bool(field.metadata.get("pytree_node", True))


def _transform(clz: type[T], kwargs: dict[str, Any], final: bool = True) -> type[T]:
    if not isinstance(clz, type):
        raise TypeError(f"dataclass: expected a class, got {clz!r}.")
    if is_struct(clz):
        return clz
    if "__dataclass_params__" in vars(clz):
        raise TypeError(
            message(
                f"{clz.__name__} is made a dataclass twice, by `dataclasses` and by `struct`.",
                "Remove the inner decorator; struct.dataclass takes the same arguments.",
            )
        )
    try:
        made = dataclasses.dataclass(**{"frozen": True, **kwargs})(clz)
    except TypeError as error:
        if required := required_after_default(clz):
            raise TypeError(
                message(
                    f"{clz.__name__}: {error}.",
                    f"Give {required} a default, or make the fields keyword-only:"
                    f" @struct.dataclass(kw_only=True), class {clz.__name__}(PyTreeNode,"
                    f" kw_only=True), or {required}: ... = struct.field(kw_only=True).",
                )
            ) from error
        raise
    fields = dataclasses.fields(made)  # type: ignore[arg-type]  # true since the line above
    if late := [f.name for f in fields if not f.init]:
        raise ValueError(
            message(
                f"{clz.__name__}: field {late[0]!r} has init=False, but JAX rebuilds an instance "
                "from all its fields.",
                "Compute it in a class method that calls the constructor, or make it a property.",
            )
        )
    fields_of_tree = register(
        made,
        data_fields=[f.name for f in fields if is_child(f)],
        meta_fields=[f.name for f in fields if not is_child(f)],
        final=final,
    )
    if kwargs.get("frozen", True):  # then the dataclass has both methods
        _explain_assignment(made)
    if not hasattr(made, "replace"):
        made.replace = _replace_method  # type: ignore[attr-defined]
    setattr(made, _MARK, True)
    setattr(made, _FIELDS, fields_of_tree)
    setattr(made, _MARK_OF_FLAX, True)
    return made


def _explain_assignment(made: type) -> None:
    """Makes the error for assigning to a frozen instance say what to write instead."""
    frozen_setattr, frozen_delattr = vars(made)["__setattr__"], vars(made)["__delattr__"]

    def refused(self: object, what: str, name: str) -> dataclasses.FrozenInstanceError:
        return dataclasses.FrozenInstanceError(
            message(
                f"{type(self).__name__}: cannot {what} field {name!r}; instances are immutable.",
                f"Make a changed copy: new = old.replace({name}=...).",
            )
        )

    def __setattr__(self: object, name: str, value: object) -> None:
        try:
            frozen_setattr(self, name, value)
        except dataclasses.FrozenInstanceError:
            raise refused(self, "assign to", name) from None

    def __delattr__(self: object, name: str) -> None:
        try:
            frozen_delattr(self, name)
        except dataclasses.FrozenInstanceError:
            raise refused(self, "delete", name) from None

    for method, replaced in ((__setattr__, frozen_setattr), (__delattr__, frozen_delattr)):
        setattr(made, method.__name__, functools.wraps(replaced)(method))


def _replace_method(self: T, **updates: object) -> T:
    """A copy with some fields changed."""
    return _replace(self, updates)


_replace_method.__name__ = "replace"
_replace_method.__qualname__ = "dataclass.replace"


def _replace(instance: T, updates: dict[str, Any]) -> T:
    names = type(instance).__dataclass_fields__  # type: ignore[attr-defined]
    for name in updates:
        if name not in names:
            raise TypeError(
                message(
                    f"{type(instance).__name__}.replace: there is no field {name!r}.",
                    did_you_mean(name, names),
                )
            )
    return dataclasses.replace(instance, **updates)  # type: ignore[type-var]
