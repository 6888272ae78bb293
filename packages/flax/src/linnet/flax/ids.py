"""`flax.ids`: identifiers that are unique in a process, and that a copy doesn't share."""

from __future__ import annotations

import itertools
from typing import Any

__all__ = ["FlaxId", "UUIDManager", "uuid"]


class FlaxId:
    """An identifier; hashable, and equal to itself."""

    def __init__(self, rawid: int) -> None:
        self.id = rawid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlaxId) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"FlaxId({self.id})"

    def __copy__(self) -> FlaxId:
        return uuid()

    def __deepcopy__(self, memo: dict[int, Any]) -> FlaxId:
        return uuid()


class UUIDManager:
    """Makes identifiers, counted from 1, in any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> FlaxId:
        return FlaxId(next(self._numbers))


uuid = UUIDManager()
"""Makes the identifiers of this process."""
