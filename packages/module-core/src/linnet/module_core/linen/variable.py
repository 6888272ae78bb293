"""A handle to one variable of a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import boxes as metadata

if TYPE_CHECKING:
    from .scope import Scope

T = TypeVar("T")


class Variable(Generic[T]):
    """One variable, whose current value is read from its scope on each access.

    Attributes:
      scope, collection, name: where the variable is stored.
      unbox: read and write the value without its metadata box.
    """

    __slots__ = ("collection", "name", "scope", "unbox")

    def __init__(self, scope: Scope, collection: str, name: str, unbox: bool = True) -> None:
        self.scope = scope
        self.collection = collection
        self.name = name
        self.unbox = unbox

    @property
    def value(self) -> T:
        """The value; set it to change the variable.

        Raises:
          ModifyScopeVariableError: the value is set while the collection is immutable.
        """
        stored = self.scope.get_variable(self.collection, self.name)
        return metadata.unbox(stored) if self.unbox else stored  # type: ignore[no-any-return]

    @value.setter
    def value(self, value: T) -> None:
        new: Any = value
        if self.unbox:
            stored = self.scope.get_variable(self.collection, self.name)
            if metadata.has_boxes(stored):
                new = metadata.replace_boxed(stored, value)
        self.scope.put_variable(self.collection, self.name, new)

    def is_mutable(self) -> bool:
        """Whether the value may be set."""
        return self.scope.is_mutable_collection(self.collection)

    def __repr__(self) -> str:
        place = "/".join((*self.scope.path, self.name))
        return f"Variable({self.collection}: {place})"
