"""How a transform takes hold of a function and of the arguments of a call."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ...errors import ArgumentError
from ..pytree import Pytree


def resolve(fun: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function and the module that it is bound to: methods and callable modules take `self`."""
    owner = getattr(fun, "__self__", None)
    if isinstance(owner, Pytree) and hasattr(fun, "__func__"):
        return fun.__func__, (owner,)
    if isinstance(fun, Pytree):
        return type(fun).__call__, (fun,)
    return fun, ()


def refuse_bound_method(fun: Any, name: str) -> None:
    """Refuses a bound method, where it could not be said what applies to its module."""
    if isinstance(getattr(fun, "__self__", None), Pytree):
        raise ArgumentError(
            f"nnx.{name} does not support bound methods. Use the decorator form @nnx.{name} or call"
            f" nnx.{name}(MyClass.method)(instance, ...) with the unbound method."
        )


def decorator(transform: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a transform be called with the function left out: it then returns a decorator."""

    @functools.wraps(transform)
    def either(f: Any = None, **options: Any) -> Any:
        if f is None or (isinstance(f, type) and f.__name__ == "Missing"):
            return functools.partial(either, **options)
        return transform(f, **options)

    return either


def positional(
    fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments by position as far as the function's signature allows, and the rest."""
    if not kwargs:
        return args, kwargs
    try:
        bound = inspect.signature(fun).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs
    return bound.args, bound.kwargs


def names_of(fun: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters, to call arguments by."""
    try:
        return tuple(inspect.signature(fun).parameters)
    except (TypeError, ValueError):
        return ()


class Transformed(ABC):
    """A function under a transform: called as it is, and as a method where it stands in a class."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun, updated=())
        self.__wrapped__ = fun

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the transformed function."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__qualname__", repr(self.__wrapped__))
        return f"nnx.{type(self).__name__.lower()}({name})"
