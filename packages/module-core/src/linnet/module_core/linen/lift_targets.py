"""The targets of lifted transforms: functions, methods and classes.

A lifted function makes a `Lift` for each call and passes it to the transform (`lift_target`).
Transforms that run several functions, such as `nn.cond`, make their own `Lift`s, with a
`function_call` for each. Transforming a class gives a subclass whose methods are lifted
(`lift_class`); the clones inside are instances of the original class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from ..errors import ArgumentError, TransformTargetError
from .lifting import Call, Lift
from .methods import UNWRAPPED_MARKS, is_compact, mark_capturing, mark_lifted, run_method
from .module import Module

# For type checkers, a transform returns the type that it is applied to: a class or a function.
Target = TypeVar("Target", bound=Callable[..., Any])

Methods: TypeAlias = str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None
Transform = Callable[..., Any]  # (Lift, **options) -> output


def lift_target(
    transform: Transform,
    target: Target,
    prefix: str,
    methods: Methods = None,
    options: Mapping[str, Any] = {},
) -> Target:
    """Applies a lifted transform to a module class, or to a function or method of a module.

    Args:
      transform: takes a `Lift` and the options, and returns the output.
      target: the class, function or method to transform.
      prefix: the prefix of the new class's name.
      methods: for a class: names of the methods to transform (default `__call__`), or a dict from
        names to options that override the common ones.
      options: the options of the transform.

    Raises:
      TransformTargetError: `target` is neither.
    """
    if isinstance(target, type) and issubclass(target, Module):
        return lift_class(transform, target, prefix, methods, options)  # type: ignore[return-value]
    if isinstance(target, Module) or not callable(target):
        raise TransformTargetError(
            "A transform takes a module class, or a function whose first argument is a module; "
            f"got {target!r:.80}.",
            hint="Write nn.vmap(Dense, ...)(features=3), not nn.vmap(Dense(3), ...).",
        )
    if methods is not None:
        raise TransformTargetError(
            f"methods={methods!r} is for classes, but the target is the function {target!r:.60}.",
        )

    call = function_call(target, capture=True)

    @functools.wraps(target)
    def lifted(module: object, *args: object, **kwargs: object) -> object:
        return transform(Lift(call, module, args, kwargs), **options)

    return mark_capturing(lifted)  # type: ignore[return-value]  # called like the target


def function_call(fn: Callable[..., Any], *, capture: bool = False) -> Call:
    """A call that runs a function or bound method as a method of the module that it is given.

    For a bound method, its function runs on a clone of the module that it is bound to.
    """
    owner = getattr(fn, "__self__", None)
    if not isinstance(owner, Module):
        owner = None
    function: Callable[..., Any] = fn if owner is None else fn.__func__  # type: ignore[attr-defined]
    name = getattr(fn, "__name__", type(fn).__name__)
    compact_function = is_compact(function)

    def call(module: object, *args: object, **kwargs: object) -> object:
        if not isinstance(module, Module):
            return fn(module, *args, **kwargs)
        if owner is not None and not _is_clone(module, owner):
            raise ArgumentError(
                f"A lifted transform got the bound method {name} of {_place_text(owner)}, but "
                f"{_place_text(module)} to run it on.",
                hint=f"Pass the module that the method belongs to, or a function: "
                f"lambda m, *args: m.submodule.{name}(*args).",
            )
        return run_method(module, function, name, compact_function, args, kwargs, capture=capture)

    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call


def _is_clone(module: Module, original: Module) -> bool:
    a, b = module.scope, original.scope
    return b is None or (a is not None and a.path == b.path and type(module) is type(original))


def _place_text(module: Module) -> str:
    path = "" if module.scope is None else "/".join(module.scope.path)
    return f"{path or 'the outermost module'} ({type(module).__name__})"


def lift_class(
    transform: Transform,
    cls: type[Module],
    prefix: str,
    methods: Methods,
    options: Mapping[str, Any],
) -> type[Module]:
    """A subclass of `cls` whose methods are transformed."""
    if methods is None:
        chosen: dict[str, Mapping[str, Any]] = {"__call__": {}}
    elif isinstance(methods, str):
        chosen = {methods: {}}
    elif isinstance(methods, Mapping):
        chosen = dict(methods)
    else:
        chosen = {name: {} for name in methods}
    body: dict[str, Any] = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "_lifted_from": cls,
    }
    for name, own_options in chosen.items():
        if name == "__call__" and not any(name in vars(c) for c in cls.__mro__):
            continue  # no `__call__` to transform; `getattr` would find the metaclass's
        method = getattr(cls, name)
        body[name] = _lift_method(transform, cls, name, method, {**options, **own_options})
    return type(prefix + cls.__name__, (cls,), body)


def _lift_method(
    transform: Transform,
    cls: type[Module],
    name: str,
    method: Callable[..., Any],
    options: Mapping[str, Any],
) -> Callable[..., Any]:
    raw = getattr(method, "__wrapped__", method)
    compact_method = is_compact(method)

    def call(clone: Module, *args: object, **kwargs: object) -> object:
        if vars(type(clone)).get("_lifted_from") is cls:
            object.__setattr__(clone, "__class__", cls)
        return run_method(clone, raw, name, compact_method, args, kwargs, capture=True)

    call.__wrapped__ = raw  # type: ignore[attr-defined]

    @functools.wraps(raw)
    def lifted(self: Module, *args: object, **kwargs: object) -> object:
        return transform(Lift(call, self, args, kwargs), **options)

    for mark in UNWRAPPED_MARKS:
        lifted.__dict__.pop(mark, None)
    return mark_lifted(mark_capturing(lifted), compact_method)
