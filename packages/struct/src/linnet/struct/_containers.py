"""Which objects have children in a state dict, and how an object is rebuilt from its children.

The idea: each kind of container defines two functions, one that returns its children by name and
one that makes a copy with different children. Everything else (collecting a state dict, comparing
one with its target, restoring) is written once in `_state_dict`, in terms of these two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.tree_util

from linnet.struct._dataclass import is_child, is_struct
from linnet.struct._errors import message
from linnet.struct.frozen_dict import FrozenDict


class Container(NamedTuple):
    """A kind of container.

    Attributes:
      children: the children of an instance, by name.
      rebuild: a copy of an instance with different children, given under the same names.
    """

    children: Callable[[Any], dict[str, Any]]
    rebuild: Callable[[Any, dict[str, Any]], Any]


def container_of(ty: type) -> Container | None:
    """The kind of container for a class, or None if its instances are leaves."""
    if ty in _BUILT_IN:
        return _BUILT_IN[ty]
    if is_namedtuple(ty):
        return _NAMEDTUPLE
    if is_struct(ty):
        return _STRUCT
    return None


def is_namedtuple(ty: type) -> bool:
    """Whether a class was made by `collections.namedtuple` or `typing.NamedTuple`."""
    return issubclass(ty, tuple) and hasattr(ty, "_fields")


def _dict_children(xs: Mapping[Any, Any]) -> dict[str, Any]:
    children = {str(key): value for key, value in xs.items()}
    if len(children) != len(xs):
        names = [str(key) for key in xs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            message(
                f"to_state_dict: several keys of a dict become {', '.join(map(repr, twice))}.",
                "The keys of a state dict are strings; keys must differ as strings, too.",
            )
        )
    return children


def _dict_rebuild(xs: Iterable[Any], children: dict[str, Any]) -> dict[Any, Any]:
    return {key: children[str(key)] for key in xs}


def _list_children(xs: Iterable[Any]) -> dict[str, Any]:
    return {str(i): x for i, x in enumerate(xs)}


def _partial_rebuild(x: jax.tree_util.Partial, children: dict[str, Any]) -> object:
    partial: Any = type(x)
    return partial(x.func, *children["args"], **children["keywords"])


def _struct_children(x: Any) -> dict[str, Any]:
    return {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if is_child(f)}


_NAMEDTUPLE = Container(lambda x: x._asdict(), lambda x, children: type(x)(**children))
_STRUCT = Container(_struct_children, lambda x, children: dataclasses.replace(x, **children))
_BUILT_IN: dict[type, Container] = {
    dict: Container(_dict_children, _dict_rebuild),
    FrozenDict: Container(
        _dict_children, lambda xs, children: FrozenDict(_dict_rebuild(xs, children))
    ),
    list: Container(_list_children, lambda xs, children: list(children.values())),
    tuple: Container(_list_children, lambda xs, children: tuple(children.values())),
    jax.tree_util.Partial: Container(
        lambda x: {"args": x.args, "keywords": x.keywords}, _partial_rebuild
    ),
}
