"""The contents of a table's cells: shapes, text, and the memory of variables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from linnet.struct import FrozenDict

from .. import boxes
from ..structs import is_struct
from .flops import is_array


def lines_of(value: object) -> list[str]:
    """Formats a tree with one leaf per line: "name: float32[2,3]" or "- float32[2,3]"."""
    value = _opened(value)
    if isinstance(value, dict):
        lines = []
        for name, item in value.items():
            below = lines_of(item)
            if _is_branch(item):
                indent = "" if isinstance(item, list | tuple) else "  "
                lines += [f"{name}:", *(indent + line for line in below)]
            else:
                lines.append(f"{name}: {below[0]}")
        return lines or ["{}"]
    if isinstance(value, list | tuple):
        lines = []
        for item in value:
            first, *rest = lines_of(item)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
        return lines or ["()"]
    return [_leaf(value)]


def _opened(value: Any) -> object:
    """Converts a struct dataclass to a dict of its fields; returns other values unchanged."""
    if not is_struct(value) or isinstance(value, boxes.AxisMetadata):
        return value
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _is_branch(value: object) -> bool:
    value = _opened(value)
    return isinstance(value, dict | list | tuple) and len(value) > 0


def _leaf(value: object) -> str:
    if isinstance(value, boxes.AxisMetadata):
        names = getattr(value, "names", None)
        text = "; ".join(lines_of(boxes.contents(value)))
        return f"{text} P({', '.join(map(str, names))})" if names else text
    if isinstance(value, jax.ShapeDtypeStruct):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return str(value)


def size_and_bytes(tree: object) -> tuple[int, int]:
    arrays = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.ShapeDtypeStruct)]
    sizes = [math.prod(x.shape) for x in arrays]
    return sum(sizes), sum(n * x.dtype.itemsize for n, x in zip(sizes, arrays, strict=True))


def amount(size: int, num_bytes: int) -> str:
    return f"{size:,} ({bytes_text(num_bytes)})"


def bytes_text(n: int) -> str:
    """Formats a number of bytes in decimal units, as used for disks: 1 KB is 1,000 B."""
    if n < 1000:
        return f"{n} B"
    value, units = n / 1000, ["KB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:  # 999.95 would round to 1,000.0
        value /= 1000
        del units[0]
    return f"{value:,.1f} {units[0]}"


@dataclasses.dataclass(frozen=True)
class Text:
    """The text for a value that is not an array."""

    text: str

    def __str__(self) -> str:
        return self.text


def represent(value: Any) -> object:
    """Replaces each array with a `jax.ShapeDtypeStruct`, and every other leaf with `Text`.

    Sequences become lists; dicts, named tuples and struct dataclasses become dicts.
    """
    if is_array(value):
        return jax.ShapeDtypeStruct(value.shape, value.dtype)  # type: ignore[no-untyped-call]
    if isinstance(value, boxes.AxisMetadata):
        return value.replace_boxed(represent(boxes.contents(value)))
    if isinstance(value, dict | FrozenDict):
        return {str(k): represent(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {k: represent(v) for k, v in zip(value._fields, value, strict=True)}
    if isinstance(value, list | tuple):
        return [represent(v) for v in value]
    if is_struct(value):
        return {f.name: represent(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return Text(_one_line(value))


def represent_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Represents arguments of a call: one by itself, several in a list, keywords in a dict."""
    if not args and not kwargs:
        return []
    if not args:
        return represent(kwargs)
    if len(args) == 1 and not kwargs:
        return represent(args[0])
    return [represent(x) for x in args] + [{k: represent(v)} for k, v in kwargs.items()]


_LONGEST = 40


def _one_line(value: object) -> str:
    say = getattr(type(value), "_linnet_cell", None)  # modules define how they are shown
    if say is not None:
        return str(say(value))
    if isinstance(value, np.dtype | type) or callable(value):
        name = getattr(value, "__name__", None) or getattr(value, "name", None)
        if isinstance(name, str):
            return name
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
