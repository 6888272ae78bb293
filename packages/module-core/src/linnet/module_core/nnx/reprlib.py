"""Custom printing: `__nnx_repr__` yields an `Object`, then an `Attr` for each attribute.

>>> class Range(Representable):
...     def __init__(self, low, high):
...         self.low, self.high = low, high
...     def __nnx_repr__(self):
...         yield Object(type(self), same_line=True)
...         yield Attr("low", self.low)
...         yield Attr("high", self.high)
>>> Range(1, 2)
Range(low=1, high=2)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from ..records import Fields

A = TypeVar("A")
B = TypeVar("B")

_Type: TypeAlias = type  # where `type` is an argument


class Object(Fields):
    """The beginning and format of an object's text.

    Attributes:
      type: its class, or the name to print.
      start, end: the brackets.
      kv_sep: separator between a name and its value.
      indent: indentation of the attributes' lines.
      empty_repr: text between the brackets if there are no attributes.
      comment: text after the opening bracket.
      same_line: whether everything is on one line.
      elem_sep: separator between attributes.
    """

    type: str | type
    start: str
    end: str
    kv_sep: str
    indent: str
    empty_repr: str
    comment: str
    same_line: bool

    def __init__(
        self,
        type: str | _Type,
        start: str = "(",
        end: str = ")",
        kv_sep: str = "=",
        indent: str = "  ",
        empty_repr: str = "",
        comment: str = "",
        same_line: bool = False,
    ) -> None:
        self.type = type
        self.start = start
        self.end = end
        self.kv_sep = kv_sep
        self.indent = indent
        self.empty_repr = empty_repr
        self.comment = comment
        self.same_line = same_line

    @property
    def elem_sep(self) -> str:
        """The separator between attributes."""
        return ", " if self.same_line else ",\n"


class Attr(Fields):
    """One attribute of the text.

    Attributes:
      key: its name.
      value: its value.
      start, end: text before and after it.
      use_raw_value: prints a string value without quotes.
      use_raw_key: prints a name that isn't a string as it is; otherwise, prints its `repr`.
    """

    key: Any
    value: Any
    start: str
    end: str
    use_raw_value: bool
    use_raw_key: bool

    def __init__(
        self,
        key: object,
        value: object,
        start: str = "",
        end: str = "",
        use_raw_value: bool = False,
        use_raw_key: bool = False,
    ) -> None:
        self.key = key
        self.value = value
        self.start = start
        self.end = end
        self.use_raw_value = use_raw_value
        self.use_raw_key = use_raw_key


class Representable:
    """Base class of objects whose text `__nnx_repr__` defines."""

    __slots__ = ()

    def __nnx_repr__(self) -> Iterator[Object | Attr]:
        """Yields an `Object`, then `Attr`s."""
        raise NotImplementedError(f"{type(self).__name__} has no __nnx_repr__.")

    def __repr__(self) -> str:
        return get_repr(self)


def get_repr(obj: Any) -> str:
    """The text of an object with `__nnx_repr__`."""
    parts = obj.__nnx_repr__()
    head = next(parts)
    if not isinstance(head, Object):
        raise TypeError(f"The first item of {type(obj).__name__}.__nnx_repr__ must be an Object.")
    name = head.type if isinstance(head.type, str) else head.type.__name__
    lines = [_line(part, head) for part in parts]
    comment = head.comment
    if not lines:
        return f"{name}{head.start}{head.empty_repr}{head.end}{comment}"
    if head.same_line:
        return f"{name}{head.start}{comment}{head.elem_sep.join(lines)}{head.end}"
    body = head.elem_sep.join(
        [head.indent + line.replace("\n", "\n" + head.indent) for line in lines]
    )
    return f"{name}{head.start}{comment}\n{body}\n{head.end}"


def _line(part: object, head: Object) -> str:
    if not isinstance(part, Attr):
        raise TypeError(f"__nnx_repr__ yields Attr after the Object, got {type(part).__name__}.")
    raw = part.use_raw_value and isinstance(part.value, str)
    value = part.value if raw else repr(part.value)
    key = part.key if isinstance(part.key, str) or part.use_raw_key else repr(part.key)
    sep = head.kv_sep if key != "" else ""
    return f"{part.start}{key}{sep}{value}{part.end}"


class MappingReprMixin(Mapping[A, B]):
    """Mappings that print one item per line."""

    def __nnx_repr__(self) -> Iterator[Object | Attr]:
        """Yields an `Object`, then an `Attr` for each item."""
        yield Object(type(self), start="({", end="})", kv_sep=": ")
        for key, value in self.items():
            yield Attr(repr(key), value, use_raw_key=True)


class SequenceReprMixin(Sequence[A]):
    """Sequences that print one item per line."""

    def __nnx_repr__(self) -> Iterator[Object | Attr]:
        """Yields an `Object`, then an `Attr` for each item."""
        yield Object(type(self), start="([", end="])", kv_sep="")
        for value in self:
            yield Attr("", value)


class PrettyMapping(Representable):
    """A mapping that prints one item per line.

    Args:
      mapping: the mapping to print.
    """

    def __init__(self, mapping: Mapping[Any, Any]) -> None:
        self.mapping = mapping

    def __nnx_repr__(self) -> Iterator[Object | Attr]:
        """Yields an `Object`, then an `Attr` for each item."""
        yield Object(type(self), start="({", end="})", kv_sep=": ")
        for key, value in self.mapping.items():
            yield Attr(repr(key), value, use_raw_key=True)


class PrettySequence(Representable):
    """A sequence that prints one item per line.

    Args:
      sequence: the sequence to print.
    """

    def __init__(self, sequence: Sequence[Any]) -> None:
        self.sequence = sequence

    def __nnx_repr__(self) -> Iterator[Object | Attr]:
        """Yields an `Object`, then an `Attr` for each item."""
        yield Object(type(self), start="([", end="])", kv_sep="")
        for value in self.sequence:
            yield Attr("", value)
