"""Filters, which select collections (or random streams).

A filter is True (all), False (none), a name, a collection of names, or `DenyList(filter)` (all
others). Every filter is either a finite set of names or the complement of one; the algebra uses
only this form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar

from ..errors import InvalidFilterError
from ..records import Record


class DenyList(Record):
    """All names except those that `deny` matches.

    >>> in_filter(DenyList("intermediates"), "params")
    True
    """

    deny: CollectionFilter

    def __init__(self, deny: CollectionFilter) -> None:
        vars(self).update(deny=deny)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DenyList) and normal_form(self) == normal_form(other)

    def __hash__(self) -> int:
        return hash(normal_form(self))


CollectionFilter = bool | str | Collection[str] | DenyList
"""Selects collections: all (True), none (False), one, several, or all except some."""

NamedCollections = Literal[True] | str | Collection[str] | DenyList
"""A filter other than False, for which `apply` also returns the collections."""

PRNGSequenceFilter = CollectionFilter

_Normal = tuple[bool, frozenset[str]]  # (whether it is the complement, names)


def normal_form(filter_like: CollectionFilter) -> _Normal:
    """A filter as (whether it is the complement, names); equal filters have equal normal forms."""
    if isinstance(filter_like, bool):
        return filter_like, frozenset()
    if isinstance(filter_like, str):
        return False, frozenset((filter_like,))
    if isinstance(filter_like, DenyList):
        complement, names = normal_form(filter_like.deny)
        return not complement, names
    if isinstance(filter_like, Collection):
        return False, frozenset(filter_like)
    raise InvalidFilterError(
        f"Invalid Filter: {filter_like!r}.",
        hint="Expected True, False, a collection's name, a list of names or DenyList(...).",
    )


def _from_normal(complement: bool, names: frozenset[str]) -> CollectionFilter:
    if not names:
        return complement
    return DenyList(set(names)) if complement else set(names)


def is_filter_empty(filter_like: CollectionFilter) -> bool:
    """Whether `filter_like` matches nothing."""
    return normal_form(filter_like) == (False, frozenset())


def filter_to_set(x: CollectionFilter) -> set[str]:
    """The names that a filter matches.

    Raises:
      InvalidFilterError: the filter matches infinitely many names.
    """
    complement, names = normal_form(x)
    if complement:
        raise InvalidFilterError(
            f"The filter {x!r} matches all names except some, which no set can hold.",
            hint="Use in_filter to ask about one name.",
        )
    return set(names)


def in_filter(filter_like: CollectionFilter, col: str) -> bool:
    """Whether `filter_like` matches the collection `col`."""
    complement, names = normal_form(filter_like)
    return (col in names) != complement


def union_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
    """A filter that matches what `a` or `b` matches."""
    (ca, na), (cb, nb) = normal_form(a), normal_form(b)
    if ca and cb:
        return _from_normal(True, na & nb)
    if ca:
        return _from_normal(True, na - nb)
    if cb:
        return _from_normal(True, nb - na)
    return _from_normal(False, na | nb)


def union_of(filters: Iterable[CollectionFilter]) -> CollectionFilter:
    """A filter that matches what any of `filters` matches."""
    union: CollectionFilter = False
    for filter_like in filters:
        union = union_filters(union, filter_like)
    return union


def intersect_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
    """A filter that matches what both `a` and `b` match."""
    (ca, na), (cb, nb) = normal_form(a), normal_form(b)
    if ca and cb:
        return _from_normal(True, na | nb)
    if ca:
        return _from_normal(False, nb - na)
    if cb:
        return _from_normal(False, na - nb)
    return _from_normal(False, na & nb)


def subtract_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
    """A filter that matches what `a` matches and `b` doesn't."""
    complement, names = normal_form(b)
    return intersect_filters(a, _from_normal(not complement, names))


T = TypeVar("T")


def group_collections(
    xs: Mapping[str, Any], col_filters: Collection[CollectionFilter]
) -> tuple[dict[str, Any], ...]:
    """Groups collections by filters; each is in the group of the first filter that matches it."""
    groups: tuple[dict[str, Any], ...] = tuple({} for _ in col_filters)
    for name, collection in xs.items():
        for group, filter_like in zip(groups, col_filters, strict=True):
            if in_filter(filter_like, name):
                group[name] = collection
                break
    return groups
