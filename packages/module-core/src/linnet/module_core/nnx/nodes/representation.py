"""The representation of modules, variables and states: names, shapes, and memory use.

Each attribute of an object takes a line; arrays are shown by shape and dtype, small arrays by
value; the first line of a module shows its parameters and bytes by variable type. An object defines
its lines in a method `_nnx_entries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..reprlib import get_repr
from .kinds import OBJECT, VARIABLE, kind_of

_SMALL = 16  # arrays with at most this many elements show their values


class Entries(NamedTuple):
    """The representation of an object, returned by its method `_nnx_entries`.

    Attributes:
      opening, closing: the start of the first line, and the last line.
      items: the name and value of each entry, one per line.
      sign: the separator: "=" after a plain name, ": " after its `repr`, "" without a name.
      sized: whether the first line counts the variables below it, by type.
    """

    opening: str
    closing: str
    items: list[tuple[Any, Any]]
    sign: str
    sized: bool = False


def represent(value: object) -> str:
    """The text of an object, variable or state."""
    return "\n".join(_lines(value, frozenset()))


def _lines(value: object, above: frozenset[int]) -> list[str]:
    cls = type(value)
    if id(value) in above:
        return [f"{cls.__name__}(...)"]
    above = above | {id(value)}
    if callable(getattr(cls, "__nnx_repr__", None)):  # see `reprlib`
        return get_repr(value).split("\n")
    entries = _entries_of(value)
    if entries is not None:
        return _block(entries, above, _note_of(value) if entries.sized else "")
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


def _entries_of(value: object) -> Entries | None:
    say = getattr(type(value), "_nnx_entries", None)
    if say is not None:
        return say(value)  # type: ignore[no-any-return]
    if type(value) is dict:
        return Entries("{", "}", list(value.items()), ": ")
    if type(value) is list and any(kind_of(x) in (OBJECT, VARIABLE) for x in value):
        return Entries("[", "]", [("", x) for x in value], "")
    return None


def _block(entries: Entries, above: frozenset[int], note: str) -> list[str]:
    opening, closing, items, sign, _ = entries
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


def _variables(value: object, seen: dict[int, Any]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept alive, since inner states are made on access
    kind = kind_of(value)
    if kind == VARIABLE:
        yield value
    elif kind == OBJECT:
        for child in value.__dict__.values():
            yield from _variables(child, seen)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _variables(child, seen)
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _variables(child, seen)


def _note_of(value: object) -> str:
    """The sizes in the first line; only the size for a variable, whose type is already named."""
    size = _size_of(_variables(value, {}))
    return size.rpartition(": ")[2] if kind_of(value) == VARIABLE else size


def _size_of(variables: Iterable[Any]) -> str:
    """The number of elements and bytes of variables, by type; "" if none has a known size."""
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


def _is_key(x: jax.Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.prng_key))


def _bytes(size: int) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return ""


def treescope_of(
    value: object, attributes: Mapping[Any, Any], path: object, subtree_renderer: object
) -> object:
    """The rendering of an object with these attributes in treescope, a notebook viewer."""
    import importlib

    treescope: Any = importlib.import_module("treescope")

    return treescope.repr_lib.render_object_constructor(
        object_type=type(value),
        attributes={str(k): v for k, v in attributes.items()},
        path=path,
        subtree_renderer=subtree_renderer,
    )
