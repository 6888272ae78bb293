"""Error messages for mistakes in how a module is defined or used."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..attributes_elsewhere import LINEN
from ..errors import ArgumentTypeError, describe, did_you_mean
from .context import context

if TYPE_CHECKING:
    from .module import Module


def misused(signature: str, name: object, init_fn: object, example: str) -> ArgumentTypeError:
    """The error for a param or variable whose first arguments are of the wrong kind."""
    if not isinstance(name, str):
        wrong = f"'name' must be a string, got {describe(name)}"
    else:
        wrong = f"{name!r}: 'init_fn' must be a function, got {describe(init_fn)}"
    return ArgumentTypeError(f"{signature}: {wrong}.", hint=f"For example {example}.")


def not_fields(
    error: TypeError, cls: type, args: Sequence[Any], given: Mapping[str, Any]
) -> ArgumentTypeError | None:
    """The error for a constructor that got an argument that is not a field of `cls`.

    Args:
      error: Python's error.
      cls: the class.
      args, given: the arguments, positional and by keyword.
    """
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:
        return None  # the error comes from deeper down: all arguments are fields
    known = [field for field in dataclasses.fields(cls) if field.init]
    fields = [field.name for field in known]
    unknown = next((name for name in given if name not in fields), None)
    if unknown is None:
        return _too_many(error, args, known)
    return ArgumentTypeError(
        f"{cls.__name__}.__init__() got an unexpected keyword argument {unknown!r}: "
        f"{cls.__name__} has no such field.",
        hint=did_you_mean(unknown, fields),
    )


def _too_many(
    error: TypeError, args: Sequence[Any], known: Sequence[dataclasses.Field[Any]]
) -> ArgumentTypeError | None:
    in_order = [field.name for field in known if not field.kw_only]
    if len(args) <= len(in_order):
        return None
    by_name = [field.name for field in known if field.kw_only]
    return ArgumentTypeError(
        f"{error}.",
        hint=f"Its fields are, in this order: {', '.join(in_order) or 'none'}. By keyword: "
        f"{', '.join(by_name)}.",
    )


def brief(value: object) -> str:
    """A value as errors show it, on one line."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"<{describe(value)}>"


def about_frozen(module: Module, name: str) -> str:
    """How to provide an attribute that may not be set on a bound module at this point."""
    cls = type(module).__name__
    if name == "name":
        return (
            f"Pass the name to the constructor, {cls}(..., name='...'); without one, a submodule "
            "made in setup is named after the attribute that it is assigned to."
        )
    if name in module._frozen:
        return f"It is a field: pass it to the constructor, {cls}(..., {name}=...)."
    stack = context.stack
    if stack and stack[-1] is not module and stack[-1]._state.in_setup:
        return (
            f"The setup of {type(stack[-1]).__name__} is running: set attributes of {cls} in the "
            f"setup of {cls}, or make them fields of it."
        )
    return "Assign in setup; keep values that change between calls in self.variable(...)."


def no_attribute(module: Module, name: str, *, has_setup: bool) -> str:
    """The message about an attribute that a module lacks."""
    cls = type(module).__name__
    message = f'"{cls}" object has no attribute "{name}".'
    if name == "__call__":
        return f"{message} {_about_call(type(module))}"
    known = [n for n in dir(type(module)) if not n.startswith("_")]
    known += [n for n in module.__dict__ if not n.startswith("_")]
    near = did_you_mean(name, known)
    if near.startswith("Did"):
        message += f" {near}"
    message += _about_setup(type(module), name, has_setup)
    if name in LINEN:
        return f"{message}\n  {LINEN[name]}"
    if module.__dict__.get("scope") is None:
        message += (
            f' If setup assigns "{name}", it exists only while init or apply runs, or in a bound '
            "module."
        )
    return message


def _about_call(cls: type[Module]) -> str:
    """How to call a module whose class has no `__call__`."""
    own = [c for c in cls.__mro__ if getattr(c, "_fields", None) is not None][:-1]  # not Module
    methods = {
        name
        for c in own
        for name, value in vars(c).items()
        if inspect.isfunction(value) and not name.startswith("_") and name != "setup"
    }
    if not methods:
        return f"Define {cls.__name__}.__call__."
    return (
        f"Define {cls.__name__}.__call__, or name the method to run: "
        f"{' or '.join(f'method={name!r}' for name in sorted(methods))}."
    )


def _about_setup(cls: type[Module], name: str, has_setup: bool) -> str:
    """Why `setup` has not made the attribute `name`, if the reason can be determined."""
    setup = getattr(inspect.unwrap(cls.setup), "__code__", None)
    if setup is not None and name in setup.co_varnames:
        return f" setup assigns a local variable of that name: write `self.{name} = ...` there."
    if not has_setup:
        near = difflib.get_close_matches("setup", [n for n in vars(cls) if n != "setup"], n=1)
        if near and callable(vars(cls)[near[0]]):
            return f" The module has no setup method: should {near[0]!r} be named setup?"
    return ""
