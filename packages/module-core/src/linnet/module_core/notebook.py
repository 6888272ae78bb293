"""Objects as trees in HTML, for notebooks: folded, with shapes, dtypes, bytes and shardings.

`_repr_html_` of modules, variables and states returns the output of `as_html`. A tree is made
of `<details>`, so it needs no scripts, and takes its colors from the page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .boxes import AxisMetadata
from .defaults import is_default
from .errors import counted

_LONGEST = 100  # characters of a value's representation
_MOST = 200  # children of an object
_STYLE = "font-family: monospace; line-height: 1.5; white-space: nowrap; overflow-x: auto"
_BELOW = "margin-left: 1.5em"
_QUIET = "opacity: 0.7"


def as_html(value: object) -> str:
    """A tree of modules, variables, states, dicts, lists and arrays; only the top is unfolded."""
    return f'<div style="{_STYLE}">{_node("", value, frozenset(), unfolded=True)}</div>'


def _node(label: str, value: object, above: frozenset[int], *, unfolded: bool = False) -> str:
    named = f"<b>{escape(label)}</b>: " if label else ""
    if id(value) in above:
        return f"<div>{named}{escape(type(value).__name__)}(...)</div>"
    children = list(_children(value))
    line = named + _line(value)
    if not children:
        return f"<div>{line}</div>"
    inside = above | {id(value)}
    shown = [_node(name, child, inside) for name, child in children[:_MOST]]
    if len(children) > _MOST:
        shown.append(f'<div style="{_QUIET}">and {len(children) - _MOST:,} more</div>')
    opened = " open" if unfolded else ""
    return (
        f'<details{opened}><summary style="cursor: pointer">{line}</summary>'
        f'<div style="{_BELOW}">{"".join(shown)}</div></details>'
    )


def _children(value: object) -> Iterable[tuple[str, object]]:
    entries = getattr(type(value), "_nnx_entries", None)
    if entries is not None:
        items = entries(value).items
        if _is_variable(value):  # an array is shown in the line itself
            items = [(k, v) for k, v in items if k != "value" or not _is_array(v)]
        return [(str(key) if key != "" else str(i), v) for i, (key, v) in enumerate(items)]
    if isinstance(value, AxisMetadata):
        return _children(value._contents())
    if isinstance(value, Mapping):
        return [(str(key), child) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(i), child) for i, child in enumerate(value)]
    if _is_linen(value):
        state = value.__dict__.get("_state")
        submodules = {} if state is None else state.children
        return [
            *(
                (field.name, getattr(value, field.name, None))
                for field in dataclasses.fields(value)  # type: ignore[arg-type]
                if field.repr and field.name not in ("parent", "name")
                if not is_default(type(value), field.name, getattr(value, field.name, None))
            ),
            *((str(k), v) for k, v in submodules.items() if _is_linen(v)),
        ]
    return []


def _line(value: object) -> str:
    name = escape(type(value).__name__)
    if _is_array(value):
        return _array(value)
    if _is_variable(value):
        inner = value.raw_value  # type: ignore[attr-defined]
        return f"{name} {_array(inner)}" if _is_array(inner) else f"{name} {_size(value)}"
    if isinstance(value, AxisMetadata):
        names = getattr(value, "names", None)
        about = f"({escape(repr(names))})" if names is not None else ""
        return f"{name}{about} {_line(value._contents())}"
    if isinstance(value, (Mapping, list, tuple)) or hasattr(type(value), "_nnx_entries"):
        return f"{name} {_size(value)}".rstrip()
    if _is_linen(value):
        return name
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return escape(value.__qualname__)
    text = repr(value)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _is_array(value: object) -> bool:
    return isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct))


def _is_variable(value: object) -> bool:
    return hasattr(type(value), "_nnx_entries") and hasattr(type(value), "raw_value")


def _is_linen(value: object) -> bool:
    return dataclasses.is_dataclass(value) and hasattr(type(value), "init_with_output")


def _array(value: object) -> str:
    """`float32[64, 10] 2.6 KB P(None, 'model')`, the last part for arrays on several devices."""
    shape, dtype = value.shape, value.dtype  # type: ignore[attr-defined]
    text = f"{dtype}[{', '.join(map(str, shape))}]"
    if not jnp.issubdtype(dtype, jax.dtypes.extended):
        text += f" {_bytes(int(np.prod(shape)) * dtype.itemsize)}"
    if isinstance(value, jax.core.Tracer):
        return f"{escape(text)} traced"
    sharding = getattr(value, "sharding", None)
    if isinstance(sharding, jax.sharding.NamedSharding):  # its mesh may have no devices yet
        text += f" P{tuple(sharding.spec)} on {_devices(sharding.mesh.size)}"
    elif sharding is not None and len(sharding.device_set) > 1:
        text += f" {type(sharding).__name__} on {_devices(len(sharding.device_set))}"
    return escape(text)


def _devices(count: int) -> str:
    return counted(count, "device")


def _size(value: object) -> str:
    """How many arrays, elements and bytes there are below a value, in a muted color."""
    arrays = list(_arrays(value, set()))
    if not arrays:
        return ""
    count = sum(int(np.prod(x.shape)) for x in arrays)
    plain = [x for x in arrays if not jnp.issubdtype(x.dtype, jax.dtypes.extended)]
    size = sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in plain)
    many = f"{counted(len(arrays), 'array')}, {count:,} number{'s' * (count != 1)}"
    return f'<span style="{_QUIET}">{many}, {_bytes(size)}</span>'


def _arrays(value: object, seen: set[int]) -> Iterator[Any]:
    """All arrays below a value, each of them once."""
    if _is_variable(value):
        value = value.raw_value  # type: ignore[attr-defined]
    if id(value) in seen:
        return
    seen.add(id(value))
    if _is_array(value):
        yield value
    elif isinstance(value, AxisMetadata):
        yield from _arrays(value._contents(), seen)
    else:
        for _, child in _children(value):
            yield from _arrays(child, seen)


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:,} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
