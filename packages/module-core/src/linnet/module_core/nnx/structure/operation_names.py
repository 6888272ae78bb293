"""Names the operations of a module's call in profiles, in HLO and in reports of their errors.

While a program is traced, jax gives each operation the names of the `jax.named_scope`s around it.
The outermost module that is called adds its class, and each module that it calls adds the attribute
where the caller holds it:

    jit(train_step)/Transformer/blocks[0]/attention/query/dot_general

A module that its caller doesn't hold, such as the copy that a transform passes to a function, adds
its class, too. Methods other than `__call__` follow the name: `embed.attend`. Calls to a method
from another method of the same module add nothing, so that an overridden method and the one that it
calls share one name.

Compiled programs run without any of this; `config.flax_profile` turns it off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax

from ..._compat import is_tracing
from ..nodes.contents import path_name
from ..nodes.pytree import Pytree

R = TypeVar("R")


class _Running(threading.local):
    """The modules whose calls are running in this thread, the innermost one last."""

    def __init__(self) -> None:
        self.modules: list[Any] = []


_running = _Running()


def named(
    method: Callable[..., R], module: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> R:
    """Calls a method of a module; while jax traces, its operations get the module's name."""
    modules = _running.modules
    if not (modules or is_tracing()):
        return method(module, *args, **kwargs)
    caller = modules[-1] if modules else None
    if caller is module:
        return method(module, *args, **kwargs)
    name = _attribute(caller, module) or type(module).__name__
    if method.__name__ != "__call__":
        name = f"{name}.{method.__name__}"
    modules.append(module)
    try:
        with jax.named_scope(name):
            return method(module, *args, **kwargs)
    finally:
        modules.pop()


def _attribute(holder: object, module: object) -> str | None:
    """Where an object holds a module, at most two containers deep; None if it doesn't."""
    attributes: dict[str, Any] = getattr(holder, "__dict__", {})
    for name, value in attributes.items():
        if value is module:
            return name
    for name, value in attributes.items():
        place = _item(value, module, 2)
        if place is not None:
            return f"{name}{place}"
    return None


def _item(container: object, module: object, depth: int) -> str | None:
    items: Iterable[tuple[Any, Any]]
    if isinstance(container, (list, tuple)):
        items = enumerate(container)
    elif isinstance(container, dict):
        items = container.items()
    elif isinstance(container, Pytree) and not callable(container):  # nnx.List, nnx.Dict
        items = vars(container).items()
    else:
        return None
    for key, value in items:
        inner = "" if value is module else _item(value, module, depth - 1) if depth > 1 else None
        if inner is not None:
            if isinstance(container, Pytree):
                key = path_name(type(container), str(key))
            return f"[{key!r}]{inner}"
    return None
