"""The current place in a configuration, and the objects encountered so far.

A module in two fields is one module, with one set of parameters. Each object is therefore written
once, with a number, and afterwards as that number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Place:
    """A path of fields and items, as errors show it, and the state shared along it.

    Args:
      path: the path so far, as text.
      abstract: whether arrays are written as shape and dtype, because their values are weights.

    Attributes:
      seen: for writing: the number of each written object, by its id.
      made: for reading: each object read so far, by its number.
    """

    __slots__ = ("abstract", "made", "path", "seen")

    def __init__(self, path: str, *, abstract: bool = False) -> None:
        self.path = path
        self.abstract = abstract
        self.seen: dict[int, int] = {}
        self.made: dict[int, Any] = {}

    def _beyond(self, step: str, abstract: bool | None = None) -> Place:
        place = Place(self.path + step, abstract=self.abstract if abstract is None else abstract)
        place.seen, place.made = self.seen, self.made
        return place

    def field(self, name: str) -> Place:
        """The place of a field."""
        return self._beyond(f".{name}")

    def item(self, key: object) -> Place:
        """The place of an item."""
        return self._beyond(f"[{key!r}]")

    def weights(self) -> Place:
        """The same place, with arrays treated as weights."""
        return self._beyond("", abstract=True)

    def constants(self) -> Place:
        """The same place, with arrays treated as constants of the program."""
        return self._beyond("", abstract=False)

    def number(self, value: object) -> int:
        """Numbers an object that is written for the first time, and returns the number."""
        return self.seen.setdefault(id(value), len(self.seen))

    def __str__(self) -> str:
        return self.path


Convert = Callable[[object, Place], Any]
"""`values.to_json` or `values.from_json`, passed to functions for values that contain others."""
