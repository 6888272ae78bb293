"""What is said when a module is written, or used, with something else than what was meant."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentTypeError, describe, did_you_mean


def misused(signature: str, name: Any, init_fn: Any, example: str) -> ArgumentTypeError:
    """The error of a param or variable whose first arguments are something else."""
    if not isinstance(name, str):
        wrong = f"'name' must be a string, got {describe(name)}"
    else:
        wrong = f"{name!r}: 'init_fn' must be a function, got {describe(init_fn)}"
    return ArgumentTypeError(f"{signature}: {wrong}.", hint=f"For example {example}.")


def unknown_field(error: TypeError, cls: Any, given: Mapping[str, Any]) -> ArgumentTypeError | None:
    """The error of a constructor that was given a keyword that is no field of `cls`."""
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:
        return None  # raised further in: all keywords were fields
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    unknown = next((name for name in given if name not in fields), None)
    if unknown is None:
        return None
    return ArgumentTypeError(
        f"{cls.__name__}.__init__() got an unexpected keyword argument {unknown!r}: "
        f"{cls.__name__} has no such field.",
        hint=did_you_mean(unknown, fields),
    )


def brief(value: Any) -> str:
    """A value as errors show it, on one line."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"<{describe(value)}>"


def no_attribute(module: Any, name: str, *, has_setup: bool) -> str:
    """What is said of an attribute that a module lacks."""
    cls = type(module).__name__
    message = f'"{cls}" object has no attribute "{name}".'
    known = [n for n in dir(type(module)) if not n.startswith("_")]
    known += [n for n in module.__dict__ if not n.startswith("_")]
    near = did_you_mean(name, known)
    if near.startswith("Did"):
        message += f" {near}"
    message += _about_setup(type(module), name, has_setup)
    if module.__dict__.get("scope") is None:
        message += (
            f" If \"{name}\" is defined in '.setup()', remember these fields are only accessible "
            "from inside 'init' or 'apply'."
        )
    return message


def _about_setup(cls: Any, name: str, has_setup: bool) -> str:
    """Why setup has not made the attribute `name`, where that can be seen."""
    setup = getattr(inspect.unwrap(cls.setup), "__code__", None)
    if setup is not None and name in setup.co_varnames:
        return f" setup makes a local variable of that name: write `self.{name} = ...` there."
    if not has_setup:
        near = difflib.get_close_matches("setup", [n for n in vars(cls) if n != "setup"], n=1)
        if near and callable(vars(cls)[near[0]]):
            return f" There is no setup method: is {near[0]!r} meant to be it?"
    return ""
