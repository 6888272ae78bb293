"""What stands in the cells of a table: shapes, text, and how much memory variables take."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax

from .. import boxes as metadata
from ..linen import adoption


def lines_of(value: Any) -> list[str]:
    """A tree of shapes and text, one leaf a line: "name: float32[2,3]", "- float32[2,3]"."""
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


def _opened(value: Any) -> Any:
    """The fields of a struct dataclass as a dict, anything else as it is."""
    if not adoption.is_struct(value) or isinstance(value, metadata.AxisMetadata):
        return value
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _is_branch(value: Any) -> bool:
    value = _opened(value)
    return isinstance(value, dict | list | tuple) and len(value) > 0


def _leaf(value: Any) -> str:
    if isinstance(value, metadata.AxisMetadata):
        names = getattr(value, "names", None)
        text = "; ".join(lines_of(metadata.contents(value)))
        return f"{text} P({', '.join(map(str, names))})" if names else text
    if isinstance(value, jax.ShapeDtypeStruct):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return str(value)


def size_and_bytes(tree: Any) -> tuple[int, int]:
    arrays = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.ShapeDtypeStruct)]
    sizes = [math.prod(x.shape) for x in arrays]
    return sum(sizes), sum(n * x.dtype.itemsize for n, x in zip(sizes, arrays, strict=True))


def amount(size: int, num_bytes: int) -> str:
    return f"{size:,} ({bytes_text(num_bytes)})"


def bytes_text(n: int) -> str:
    """Decimal units, as discs and model cards have them: 1 KB is 1,000 B."""
    if n < 1000:
        return f"{n} B"
    value, units = n / 1000, ["KB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:  # 999.95 would round to 1,000.0
        value /= 1000
        del units[0]
    return f"{value:,.1f} {units[0]}"
