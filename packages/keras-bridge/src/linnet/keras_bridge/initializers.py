"""Represents initializers by the calls that made them.

Initializers of `linnet.initializers` record the call. Those of `jax.nn.initializers` are closures
over the arguments of their factory, so the call is known if the closure contains only arguments;
otherwise it is unknown, and the initializer is rejected like any closure.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import jax

from linnet.module_core.errors import ArgumentError

from .place import Place

_LINNET, _JAX = "linnet.initializers", "jax.nn.initializers"

Call = tuple[str, str, dict[str, Any]]


def call_of(value: object) -> Call | None:
    """Library, factory and arguments of an initializer; None for anything else."""
    if type(value).__module__.startswith(f"{_LINNET}.") and hasattr(value, "__name__"):
        recorded: Any = value.__reduce__()
        _, (factory, arguments, dtype) = recorded
        return _LINNET, factory, {**arguments, "dtype": dtype}
    if not inspect.isfunction(value):
        return None
    name, _, rest = value.__qualname__.partition(".")
    factory = getattr(jax.nn.initializers, name, None)
    if rest != "<locals>.init" or not inspect.isfunction(factory):
        return None
    if factory.__code__.co_filename != value.__code__.co_filename:
        return None  # another closure of the same name
    arguments = dict(inspect.getclosurevars(value).nonlocals)
    parameters = inspect.signature(factory).parameters
    if not set(arguments) <= set(parameters):
        return None
    dtype = inspect.signature(value).parameters.get("dtype")
    if dtype is not None and "dtype" in parameters:
        arguments["dtype"] = dtype.default
    return _JAX, name, arguments


def make(library: str, factory: str, arguments: dict[str, Any], where: Place) -> object:
    """Calls a factory.

    Raises:
      ArgumentError: the library has no such factory.
    """
    try:
        found = importlib.import_module(library) if library in (_LINNET, _JAX) else None
    except ImportError:
        found = None
    public = getattr(found, "__all__", None) or [n for n in dir(found) if not n.startswith("_")]
    if found is None or factory not in public:
        raise ArgumentError(
            f"{where} is stored as the initializer {factory!r} of {library!r}, which cannot be "
            "imported.",
            hint="Is linnet-initializers installed?",
        )
    return getattr(found, factory)(**arguments)
