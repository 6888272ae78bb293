"""Filters, which select leaves of a structure.

Each form of filter is converted to a predicate of a leaf's path and the leaf itself, a variable or
a raw array:

| filter | a leaf passes if |
|---|---|
| a type | it or its value is an instance |
| a string | its metadata `tag` is that string |
| `...`, `True` | always |
| `None`, `False` | never |
| a list or tuple | it passes one of the filters |
| a function | `function(path, leaf)` is true |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any as AnyType
from typing import TypeAlias

from ..errors import ArgumentError, InvalidFilterError
from ..records import Record

Predicate = Callable[[tuple[AnyType, ...], AnyType], bool]
"""Returns whether a leaf passes the filter, given its path and value."""

Filter = AnyType

_Type: TypeAlias = type  # where `type` is an argument


def to_predicate(filter: Filter) -> Predicate:
    """Converts a filter to a predicate.

    Raises:
      InvalidFilterError: the value is not a filter.
    """
    if isinstance(filter, str):
        return WithTag(filter)
    if isinstance(filter, type):
        return OfType(filter)
    if filter is ... or filter is True:
        return Everything()
    if filter is None or filter is False:
        return Nothing()
    if isinstance(filter, (list, tuple)):
        return Any(*filter)
    if callable(filter):
        return filter  # type: ignore[no-any-return]
    raise InvalidFilterError(
        f"{filter!r} is not a filter.",
        hint="A filter is a type (nnx.Param), a tag, True or ..., False or None, a list of filters,"
        " or a function of path and leaf.",
    )


def filters_to_predicates(filters: Sequence[Filter]) -> tuple[Predicate, ...]:
    """Converts filters to predicates; each leaf belongs to the first one that it passes.

    Raises:
      ArgumentError: `...` or True is followed by another filter, which would never match a leaf.
    """
    for i, filter in enumerate(filters):
        rest = filters[i + 1 :]
        if _is_rest(filter) and not all(map(_is_rest, rest)):
            raise ArgumentError(
                f"Filter {i} is {filter}, which leaves nothing for the filters after it: expected"
                " `...` or `True` in the last place."
            )
    return tuple(map(to_predicate, filters))


def first_passing(predicates: Sequence[Predicate], path: tuple[AnyType, ...], x: AnyType) -> int:
    """The index of the first predicate that a leaf passes, or the number of predicates if none."""
    for i, predicate in enumerate(predicates):
        if predicate(path, x):
            return i
    return len(predicates)


def _is_rest(filter: Filter) -> bool:
    return filter is ... or filter is True


class WithTag(Record):
    """Selects leaves whose metadata `tag` is `tag`."""

    tag: str

    def __init__(self, tag: str) -> None:
        vars(self).update(tag=tag)

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        metadata = getattr(x, "_metadata", None)
        tag = metadata.get("tag") if metadata is not None else getattr(x, "tag", None)
        return bool(tag == self.tag)


HasTag = WithTag


class PathContains(Record):
    """Selects leaves with `key` in their path; without `exact`, part of an entry is enough."""

    key: AnyType
    exact: bool

    def __init__(self, key: AnyType, exact: bool = True) -> None:
        vars(self).update(key=key, exact=exact)

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        if self.exact:
            return self.key in path
        return any(str(self.key) in str(part) for part in path)


class PathIn:
    """Selects leaves at one of the given paths."""

    def __init__(self, *paths: tuple[AnyType, ...]) -> None:
        self.paths = frozenset(paths)

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        return path in self.paths

    def __repr__(self) -> str:
        return f"PathIn({', '.join(map(repr, sorted(self.paths, key=str)))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PathIn) and self.paths == other.paths

    def __hash__(self) -> int:
        return hash(self.paths)


class OfType(Record):
    """Selects leaves of a type, or whose value is of the type."""

    type: type

    def __init__(self, type: _Type) -> None:
        vars(self).update(type=type)

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        if isinstance(x, self.type):
            return True
        kind = getattr(x, "type", None)  # for stand-ins for variables, as in a pure state
        return isinstance(kind, type) and issubclass(kind, self.type)


class _Combined:
    def __init__(self, *filters: Filter) -> None:
        self.predicates = tuple(map(to_predicate, filters))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.predicates))})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.predicates == self.predicates

    def __hash__(self) -> int:
        return hash((type(self), self.predicates))


class Any(_Combined):
    """Selects leaves that pass at least one of the filters."""

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        return any(predicate(path, x) for predicate in self.predicates)


class All(_Combined):
    """Selects leaves that pass all of the filters."""

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        return all(predicate(path, x) for predicate in self.predicates)


class Not:
    """Selects leaves that do not pass the filter."""

    def __init__(self, filter: Filter, /) -> None:
        self.predicate = to_predicate(filter)

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        return not self.predicate(path, x)

    def __repr__(self) -> str:
        return f"Not({self.predicate!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Not) and self.predicate == other.predicate

    def __hash__(self) -> int:
        return hash((Not, self.predicate))


class Everything(Record):
    """Selects every leaf."""

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        return True


class Nothing(Record):
    """Selects no leaf."""

    def __call__(self, path: tuple[AnyType, ...], x: AnyType) -> bool:
        return False
