"""The modes that `graph=None` and `graph_updates=None` select, and defaults of variables.

In graph mode (True, the default), objects may be shared; in tree mode (False), every object has one
place, and sharing raises an error. A mode applies to the thread or asynchronous task that sets it,
until it is set again, or until the end of the `with` block or of the function that sets it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from ...config import config
from ...errors import ArgumentTypeError
from ..variable.variable_metadata import require_one_kind

F = TypeVar("F", bound=Callable[..., Any])


class _Mode:
    """A setting that a call to its class changes, and that `with` or a decorator restores."""

    _variable: ClassVar[ContextVar[bool | None]]
    _switch: ClassVar[str]  # of `config`, where no mode is set

    def __init__(self, value: bool, /) -> None:
        if not isinstance(value, bool):
            raise ArgumentTypeError(f"{type(self).__name__} takes True or False, got {value!r}.")
        self._value = value
        self._previous = self._variable.get()
        self._variable.set(value)

    @classmethod
    def current_value(cls) -> bool:
        """The current mode."""
        value = cls._variable.get()
        if value is None:
            value = bool(getattr(config, cls._switch))
        return value

    def __enter__(self) -> None:
        self._variable.set(self._value)

    def __exit__(self, *exception: object) -> None:
        self._variable.set(self._previous)

    def __call__(self, f: F, /) -> F:
        """Wraps a function so that it runs in the mode; restores the mode outside it."""
        self._variable.set(self._previous)
        value, variable = self._value, self._variable

        @functools.wraps(f)
        def in_mode(*args: object, **kwargs: object) -> object:
            token = variable.set(value)
            try:
                return f(*args, **kwargs)
            finally:
                variable.reset(token)

        return in_mode  # type: ignore[return-value]


class set_graph_mode(_Mode):
    """Sets what `graph=None` means: True allows shared objects, False raises an error for them.

    A plain call sets the mode from now on, a `with` statement for its block, and a decorator for
    calls to the function.

    >>> from linnet.module_core import nnx
    >>> with nnx.set_graph_mode(False):
    ...     nnx.set_graph_mode.current_value()
    False
    >>> nnx.set_graph_mode.current_value()
    True
    """

    _variable = ContextVar[bool | None]("graph_mode", default=None)
    _switch = "nnx_graph_mode"


class set_graph_updates(_Mode):
    """Sets what `graph_updates=None` means: whether transforms propagate changes of structure.

    A plain call sets the mode from now on, a `with` statement for its block, and a decorator for
    calls to the function.

    >>> from linnet.module_core import nnx
    >>> @nnx.set_graph_updates(False)
    ... def train():
    ...     return nnx.set_graph_updates.current_value()
    >>> train(), nnx.set_graph_updates.current_value()
    (False, True)
    """

    _variable = ContextVar[bool | None]("graph_updates", default=None)
    _switch = "nnx_graph_updates"


def graph_mode(graph: bool | None) -> bool:
    """The graph mode for an argument `graph`: the argument, or the current mode if it is None."""
    return set_graph_mode.current_value() if graph is None else bool(graph)


def graph_updates_mode(graph_updates: bool | None) -> bool:
    """The mode for an argument `graph_updates`: the argument, or the current mode if it is None."""
    return set_graph_updates.current_value() if graph_updates is None else bool(graph_updates)


class VarDefaults:
    """The kind of new variables: neither `hijax` nor `ref`. Reads as a mapping, too."""

    __slots__ = ()
    hijax: ClassVar[bool] = False
    ref: ClassVar[bool] = False

    def keys(self) -> KeysView[str]:
        """The names of the settings."""
        return self._as_dict().keys()

    def values(self) -> ValuesView[bool]:
        """The settings."""
        return self._as_dict().values()

    def items(self) -> ItemsView[str, bool]:
        """Names and settings."""
        return self._as_dict().items()

    def get(self, name: str, default: object = None, /) -> object:
        """The setting of that name, or `default` if there is none."""
        return self._as_dict().get(name, default)

    def __getitem__(self, name: str) -> bool:
        return self._as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_dict())

    def __len__(self) -> int:
        return len(self._as_dict())

    def _as_dict(self) -> dict[str, bool]:
        return {"hijax": self.hijax, "ref": self.ref}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass

    def __call__(self, f: F, /) -> F:
        """Returns the function unchanged, since the defaults can't change."""
        return f

    def __repr__(self) -> str:
        return f"VarDefaults(hijax={self.hijax}, ref={self.ref})"


def var_defaults(*, hijax: bool | None = None, ref: bool | None = None) -> VarDefaults:
    """The defaults of new variables; also a context manager, as programs written for Flax use it.

    Linnet has one kind of variable, which assignment changes under every transform. It has neither
    hijax variables nor mutable-array references, so there are no defaults to set.

    Args:
      hijax, ref: must not be True.

    Raises:
      ArgumentError: hijax variables or references are requested.

    >>> from linnet.module_core import nnx
    >>> nnx.var_defaults().hijax
    False
    """
    require_one_kind(hijax=hijax, ref=ref)
    return VarDefaults()
