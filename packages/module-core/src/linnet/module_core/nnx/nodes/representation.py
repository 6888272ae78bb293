"""How modules, variables and states print: names, shapes, and how much memory they take.

Of an object each attribute is a line; arrays are shown by shape and type, small ones by value; a
module's head counts its parameters and bytes by the type of variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..reprlib import get_repr
from ..structure.states import FlatState, State
from ..structure.structure import path_name
from ..variable.variable import Variable
from .pytree import Pytree

_SMALL = 16  # arrays of at most so many elements show their values


def represent(value: Any) -> str:
    """The text of an object, variable or state."""
    return "\n".join(_lines(value, frozenset()))


def _lines(value: Any, above: frozenset[int]) -> list[str]:
    if id(value) in above:
        return [f"{type(value).__name__}(...)"]
    above = above | {id(value)}
    name = type(value).__name__
    if callable(getattr(type(value), "__nnx_repr__", None)):  # see `reprlib`
        return get_repr(value).split("\n")
    if isinstance(value, Variable):
        items = [("value", value.raw_value), *value._metadata.items()]
        return _block(f"{name}(", ")", items, "=", above, _size_of([value]))
    if isinstance(value, Pytree):
        cls = type(value)
        items = [(path_name(cls, k), v) for k, v in value.__dict__.items() if k != "_length"]
        if items and all(isinstance(k, int) for k, _ in items):
            return _block(f"{name}([", "])", [("", v) for _, v in items], "", above, "")
        return _block(f"{name}(", ")", items, "=", above, _size_of(_variables(value, {})))
    if isinstance(value, State):
        return _block("State({", "})", list(value.raw_mapping.items()), ": ", above, "")
    if isinstance(value, FlatState):
        return _block("FlatState([", "])", list(value), ": ", above, "")
    if type(value) is dict:
        return _block("{", "}", list(value.items()), ": ", above, "")
    if type(value) is list and any(isinstance(x, (Pytree, Variable)) for x in value):
        return _block("[", "]", [("", x) for x in value], "", above, "")
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer):
        if value.size > _SMALL:
            return [f"Array(shape={value.shape}, dtype={value.dtype})"]
    elif isinstance(value, np.ndarray) and value.size > _SMALL:
        return [f"ndarray(shape={value.shape}, dtype={value.dtype})"]
    elif isinstance(value, type):
        return [value.__name__]
    elif callable(value) and hasattr(value, "__qualname__"):
        return [value.__qualname__]
    return repr(value).split("\n")


def _block(
    opening: str, closing: str, items: list[Any], sign: str, above: frozenset[int], note: str
) -> list[str]:
    if not items:
        return [opening + closing]
    lines = [opening + (f" # {note}" if note else "")]
    for i, (key, value) in enumerate(items):
        label = f"{key}{sign}" if sign == "=" else f"{key!r}{sign}" if sign else ""
        inner = _lines(value, above)
        inner[0] = label + inner[0]
        if i < len(items) - 1:
            inner[-1] += ","
        lines += ["  " + line for line in inner]
    lines.append(closing)
    return lines


def _variables(value: Any, seen: dict[int, Any]) -> Iterator[Variable[Any]]:
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept: a state's inner states are made when asked for
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, Pytree):
        for child in value.__dict__.values():
            yield from _variables(child, seen)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _variables(child, seen)
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _variables(child, seen)


def _size_of(variables: Any) -> str:
    """How many elements and bytes variables have, by type; "" if that isn't known of any."""
    sizes: dict[str, tuple[int, int]] = {}
    several = False
    for variable in variables:
        for leaf in jax.tree.leaves(variable.raw_value):
            if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
                count = int(np.prod(leaf.shape))
                size = (
                    count * np.dtype(np.uint32).itemsize * 2
                    if _is_key(leaf)
                    else (count * leaf.dtype.itemsize)
                )
                kind = type(variable).__name__
                old = sizes.get(kind, (0, 0))
                sizes[kind] = (old[0] + count, old[1] + size)
    several = len(sizes) > 1
    parts = [f"{kind}: {n:,} ({_bytes(b)})" for kind, (n, b) in sizes.items()]
    if several:
        total = [sum(x) for x in zip(*sizes.values(), strict=True)]
        parts.append(f"Total: {total[0]:,} ({_bytes(total[1])})")
    return ", ".join(parts)


def _is_key(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.prng_key))


def _bytes(size: int) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return ""


def treescope_of(value: Any, path: Any, subtree_renderer: Any) -> Any:
    """How treescope, a viewer for notebooks, draws an object."""
    import importlib

    treescope: Any = importlib.import_module("treescope")

    if isinstance(value, Variable):
        attributes = {"value": value.raw_value, **value._metadata}
    elif isinstance(value, State):
        attributes = value.raw_mapping
    else:
        attributes = {str(k): v for k, v in value.__dict__.items()}
    return treescope.repr_lib.render_object_constructor(
        object_type=type(value),
        attributes={str(k): v for k, v in attributes.items()},
        path=path,
        subtree_renderer=subtree_renderer,
    )
