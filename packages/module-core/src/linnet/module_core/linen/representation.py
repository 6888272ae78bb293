"""The `repr` of a module: its class, its fields, and its children while it is bound."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..defaults import is_default
from .adoption import is_module

if TYPE_CHECKING:
    from .module import Module

_INDENT = "    "


def module_repr(module: Module) -> str:
    """A tree of the fields that have no default values, and of children; see `is_default`."""
    attributes = {
        f.name: getattr(module, f.name, None)
        for f in dataclasses.fields(module)
        if f.repr and f.name not in ("parent", "name")
        if not is_default(type(module), f.name, getattr(module, f.name, None))
    }
    state = module.__dict__.get("_state")
    children = {} if state is None else {k: v for k, v in state.children.items() if is_module(v)}
    lines = []
    if attributes:
        lines.append(f"{_INDENT}# attributes")
        lines += [f"{_INDENT}{k} = {_value_repr(v)}" for k, v in attributes.items()]
    if children:
        lines.append(f"{_INDENT}# children")
        lines += [f"{_INDENT}{k} = {_indent(module_repr(v))}" for k, v in children.items()]
    name = type(module).__name__
    return f"{name}(\n" + "\n".join(lines) + "\n)" if lines else f"{name}()"


def _value_repr(value: object) -> str:
    named = callable(value) and getattr(value, "__name__", None)
    return str(named) if named and not is_module(value) else _indent(repr(value))


def _indent(text: str) -> str:
    return text.replace("\n", f"\n{_INDENT}")
