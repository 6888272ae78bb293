"""Helpers with which transforms inspect functions and bind the arguments of calls."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from ...errors import ArgumentError
from ..nodes.pytree import Pytree

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
Options = ParamSpec("Options")
"""The parameters of a transform other than the function."""

Gradient: TypeAlias = Any
"""The gradient: a `State` for a module; for others, a tree with the argument's structure."""


def resolve(fun: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function, and the module that it is bound to, for bound methods and callable modules."""
    owner = getattr(fun, "__self__", None)
    if isinstance(owner, Pytree) and hasattr(fun, "__func__"):
        return fun.__func__, (owner,)
    if isinstance(fun, Pytree):
        return type(fun).__call__, (fun,)
    return fun, ()


def refuse_bound_method(fun: object, name: str) -> None:
    """Checks that a function isn't a bound method, since no spec could describe its module."""
    if isinstance(getattr(fun, "__self__", None), Pytree):
        raise ArgumentError(
            f"nnx.{name} does not take bound methods: it cannot track their module. Decorate the "
            f"method with @nnx.{name}, or pass the function: nnx.{name}(Model.method)(model, "
            "...)."
        )


class KeepsSignature(Protocol[Options]):
    """The type of a transform whose result has the signature of the function."""

    @overload
    def __call__(
        self, f: Callable[P, R], *args: Options.args, **options: Options.kwargs
    ) -> Transformed[P, R]: ...
    @overload
    def __call__(
        self, f: None = None, *args: Options.args, **options: Options.kwargs
    ) -> Callable[[Callable[P, R]], Transformed[P, R]]: ...
    def __call__(self, f: object = None, *args: object, **options: object) -> object:
        """The transformed function; without a function, a decorator."""


class AddsGradient(Protocol[Options]):
    """The type of a transform whose result returns the value and the gradient."""

    @overload
    def __call__(
        self, f: Callable[P, R], *args: Options.args, **options: Options.kwargs
    ) -> Transformed[P, tuple[R, Gradient]]: ...
    @overload
    def __call__(
        self, f: None = None, *args: Options.args, **options: Options.kwargs
    ) -> Callable[[Callable[P, R]], Transformed[P, tuple[R, Gradient]]]: ...
    def __call__(self, f: object = None, *args: object, **options: object) -> object:
        """The transformed function; without a function, a decorator."""


class GivesGradient(Protocol[Options]):
    """The type of a transform whose result returns the gradient, alone or with auxiliary output."""

    @overload
    def __call__(
        self, f: Callable[P, tuple[Any, R]], *, has_aux: Literal[True], **options: object
    ) -> Transformed[P, tuple[Gradient, R]]: ...
    @overload
    def __call__(
        self, f: None = None, *, has_aux: Literal[True], **options: object
    ) -> Callable[[Callable[P, tuple[Any, R]]], Transformed[P, tuple[Gradient, R]]]: ...
    @overload
    def __call__(
        self, f: Callable[P, Any], *args: Options.args, **options: Options.kwargs
    ) -> Transformed[P, Gradient]: ...
    @overload
    def __call__(
        self, f: None = None, *args: Options.args, **options: Options.kwargs
    ) -> Callable[[Callable[P, Any]], Transformed[P, Gradient]]: ...
    def __call__(self, f: object = None, *args: object, **options: object) -> object:
        """The transformed function; without a function, a decorator."""


def decorator(
    transform: Callable[Concatenate[Callable[..., Any], Options], Any],
) -> KeepsSignature[Options]:
    """Makes the function argument of a transform optional; without it, returns a decorator."""
    either: KeepsSignature[Options] = optional_function(transform)
    return either


def adds_gradient(
    transform: Callable[Concatenate[Callable[..., Any], Options], Any],
) -> AddsGradient[Options]:
    """Like `decorator`, for a transform that adds the gradient to the output of a function."""
    either: AddsGradient[Options] = optional_function(transform)
    return either


def gives_gradient(
    transform: Callable[Concatenate[Callable[..., Any], Options], Any],
) -> GivesGradient[Options]:
    """Like `decorator`, for a transform that returns the gradient of a function's output."""
    either: GivesGradient[Options] = optional_function(transform)
    return either


def optional_function(transform: Callable[..., Any]) -> Any:
    """A transform that returns a decorator if its first argument, the function, is omitted."""
    name = next(iter(inspect.signature(transform).parameters))

    @functools.wraps(transform)
    def either(f: object = None, /, **options: object) -> object:
        f = options.pop(name, None) if f is None else f
        return functools.partial(either, **options) if f is None else transform(f, **options)

    return either


def given(f: Callable[..., Any] | None) -> Callable[..., Any]:
    """The function of a transform: `optional_function` calls the transform only with one."""
    assert f is not None
    return f


def positional(
    fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments by position, as far as the function's signature allows, and by keyword."""
    if not kwargs:
        return args, kwargs
    try:
        bound = inspect.signature(fun).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs
    return bound.args, bound.kwargs


def names_of(fun: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters."""
    try:
        return tuple(inspect.signature(fun).parameters)
    except (TypeError, ValueError):
        return ()


class Transformed(ABC, Generic[P, R]):
    """A transformed function; also works as a method if a class defines it."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun, updated=())
        self.__wrapped__ = fun

    @abstractmethod
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the transformed function."""

    @overload
    def __get__(self, instance: None, owner: object = None) -> Self: ...
    @overload
    def __get__(
        self: Transformed[Concatenate[Any, Q], R], instance: object, owner: object = None
    ) -> Callable[Q, R]: ...
    def __get__(self, instance: Any, owner: object = None) -> object:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__qualname__", repr(self.__wrapped__))
        return f"nnx.{type(self).__name__.lower()}({name})"
