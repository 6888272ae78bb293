"""Where in a configuration one is, and which objects were met on the way.

A module in two fields is one module, with one set of parameters; so each object is written once,
with a number, and from then on as that number.
"""

from __future__ import annotations

from typing import Any


class Place:
    """A path of fields and items, as errors show it, and what is shared along it.

    Args:
      path: the path so far, as text.
      abstract: arrays are written as shape and dtype, since their numbers are among the weights.

    Attributes:
      seen: for writing, the number of each object that was written, by its id.
      made: for reading, each object that was read, by its number.
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
        """The same place, where arrays are weights."""
        return self._beyond("", abstract=True)

    def constants(self) -> Place:
        """The same place, where arrays belong to the program."""
        return self._beyond("", abstract=False)

    def number(self, value: object) -> int:
        """Counts an object that is written for the first time; returns its number."""
        return self.seen.setdefault(id(value), len(self.seen))

    def __str__(self) -> str:
        return self.path
