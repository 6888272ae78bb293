"""What a bound `bridge.Module` runs in: its scope, and the methods that are running.

A `Scope` holds the streams of random keys, the mutable collections, and the variables that were
passed to `apply` for a module and those below. Each bound module has its own. The running methods
form a stack, in which a new module finds its parent, and an nnx layer finds the module that calls
it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..linen.filters import CollectionFilter
from ..nnx.nodes.pytree import Pytree
from ..nnx.streams.rngs import Rngs

if TYPE_CHECKING:
    from .module import Module

T = TypeVar("T")


class Scope(Pytree):
    """The context of a bound module.

    Attributes:
      rngs: the streams, the same for all modules of a call.
      mutable: the mutable collections.
      initializing: whether this is a call to `init`.
      given: nested variables for the module and those below that are not yet assigned to them.
      name: name of the module in its parent.
    """

    def __init__(
        self,
        rngs: Rngs,
        mutable: CollectionFilter,
        initializing: bool = False,
        given: dict[Any, Any] | None = None,
        name: str | None = None,
    ) -> None:
        self.rngs = rngs
        self.mutable = mutable
        self.initializing = initializing
        self.given = given or {}
        self.name = name

    def take(self, name: object, kind: type[T] | tuple[type[T], ...]) -> T | None:
        """Removes and returns the value given under a name if it is an instance of `kind`.

        Each variable is taken only once, so that `nnx.split` of a running module finds it at its
        final path.
        """
        return self.given.pop(name) if isinstance(self.given.get(name), kind) else None

    def child(self, name: str, given: object) -> Scope:
        """The scope of a child of a bound module."""
        below = given if isinstance(given, dict) else {}
        return Scope(self.rngs, self.mutable, self.initializing, below, name)


class ModuleStackEntry:
    """A module with `setup` or another method running.

    Attributes:
      module: the module.
      in_compact: whether the method is compact.
      counts: the number of named children by class.
    """

    def __init__(self, module: Module, in_compact: bool) -> None:
        self.module = module
        self.in_compact = in_compact
        self.counts: dict[str, int] = {}

    def next_name(self, class_name: str) -> str:
        """The name of the next child of a class."""
        n = self.counts.get(class_name, 0)
        self.counts[class_name] = n + 1
        return f"{class_name}_{n}"


running_methods: contextvars.ContextVar[tuple[ModuleStackEntry, ...]] = contextvars.ContextVar(
    "bridge_stack", default=()
)


def current_context() -> ModuleStackEntry | None:
    """The innermost running method of a bound module, or None."""
    stack = running_methods.get()
    return stack[-1] if stack else None


def current_module() -> Module | None:
    """The bound module whose method is running, or None.

    An nnx module inside a `bridge.Module` can check whether this is a call to `init` with
    `nnx.bridge.current_module().is_initializing()`.
    """
    context = current_context()
    return context.module if context is not None else None


@contextmanager
def running(module: Module, in_compact: bool) -> Iterator[None]:
    """A context in which a method of `module` runs, so that `current_module` returns `module`."""
    token = running_methods.set((*running_methods.get(), ModuleStackEntry(module, in_compact)))
    try:
        yield
    finally:
        running_methods.reset(token)
