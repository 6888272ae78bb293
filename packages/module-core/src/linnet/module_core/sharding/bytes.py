"""How many bytes of a model each device holds: from shapes and layouts, before arrays exist."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Sharding

from ..errors import ArgumentError, counted, did_you_mean
from .leaves import Shaped, by_path, is_array, is_key

_SHOWN = 30  # rows of a printed report


@dataclass(frozen=True)
class Bytes:
    """An array's part of a report.

    Attributes:
      path: the array's path.
      shape, dtype: shape and dtype of the whole array.
      layout: its partition spec as text, or the class of any other sharding.
      total: bytes of the whole array.
      per_device: bytes of a device's part.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    total: int
    per_device: int


@dataclass(frozen=True)
class ByteReport:
    """Bytes of each array and of all arrays, as a whole and per device; prints as a table.

    Attributes:
      rows: the arrays, largest part first.
    """

    rows: tuple[Bytes, ...]

    @property
    def total(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(row.total for row in self.rows)

    @property
    def per_device(self) -> int:
        """Bytes that one device holds of all arrays."""
        return sum(row.per_device for row in self.rows)

    def __str__(self) -> str:
        shown = self.rows[:_SHOWN]
        table = [("bytes per device", "of", "dtype", "shape", "layout", "path")]
        table += [
            (
                f"{r.per_device:,}",
                f"{r.total:,}",
                r.dtype,
                "x".join(map(str, r.shape)) or "-",
                r.layout,
                r.path,
            )
            for r in shown
        ]
        if rest := self.rows[_SHOWN:]:
            sums = sum(r.per_device for r in rest), sum(r.total for r in rest)
            more = counted(len(rest), "more array")
            table.append((f"{sums[0]:,}", f"{sums[1]:,}", "", "", "", more))
        table.append((f"{self.per_device:,}", f"{self.total:,}", "", "", "", "in all"))
        widths = [max(len(row[i]) for row in table) for i in range(5)]
        return "\n".join(
            "  ".join(
                [
                    *(c.rjust(w) for c, w in zip(row[:2], widths[:2], strict=True)),
                    *(c.ljust(w) for c, w in zip(row[2:5], widths[2:], strict=True)),
                    row[5],
                ]
            )
            for row in table
        )


def byte_report(tree: object, shardings: object = None) -> ByteReport:
    """How many bytes of each array a device holds.

    Args:
      tree: linen variables, an nnx module or state, or any tree of arrays or of their shapes;
        nothing has to be allocated.
      shardings: the layouts, as `named_shardings` returns them; None for those that the arrays or
        shapes have. An array without a layout is counted as replicated on each device.

    Raises:
      ArgumentError: an array has no counterpart in `shardings`, or its layout doesn't divide it.

    >>> import jax
    >>> from jax.sharding import AbstractMesh, PartitionSpec as P
    >>> from linnet.module_core import sharding
    >>> shapes = {"kernel": jax.ShapeDtypeStruct((1024, 1024), "float32")}
    >>> mesh = AbstractMesh((16, 16), ("data", "model"))
    >>> layouts = sharding.named_shardings(shapes, [("kernel", P("data", "model"))], mesh)
    >>> report = byte_report(shapes, layouts)
    >>> report.total, report.per_device
    (4194304, 16384)
    >>> print(report)
    bytes per device         of  dtype    shape      layout         path
              16,384  4,194,304  float32  1024x1024  (data, model)  kernel
              16,384  4,194,304                                     in all
    """
    layouts = None if shardings is None else by_path(shardings)
    rows = []
    for path, x in by_path(tree).items():
        if not is_array(x):
            continue
        if layouts is not None and path not in layouts:
            raise ArgumentError(
                f"The layouts have none for {path!r}. {did_you_mean(path, layouts)}",
                hint="Make them from the same tree: named_shardings(tree, rules, mesh).",
            )
        layout = getattr(x, "sharding", None) if layouts is None else layouts[path]
        rows.append(_bytes_of(path, x, layout))
    return ByteReport(tuple(sorted(rows, key=lambda row: -row.per_device)))


def _bytes_of(path: str, x: Shaped, layout: object) -> Bytes:
    shape, each = tuple(x.shape), _itemsize(x)
    part = shape
    if isinstance(layout, Sharding):
        try:
            part = layout.shard_shape(shape)
        except ValueError as error:
            raise ArgumentError(
                f"{path!r} cannot be laid out: {error}",
                hint="Choose a size that the devices divide, or leave the axis unsplit.",
            ) from error
    total, own = (math.prod(s) * each for s in (shape, part))
    return Bytes(path, shape, str(x.dtype), _text(layout), total, own)


def _itemsize(x: Shaped) -> int:
    if is_key(x):
        key = jax.ShapeDtypeStruct((), x.dtype)  # type: ignore[no-untyped-call]
        data = jax.eval_shape(jax.random.key_data, key)
        return int(math.prod(data.shape) * data.dtype.itemsize)
    return int(np.dtype(x.dtype).itemsize)


def _text(layout: object) -> str:
    if layout is None:
        return "none"
    spec = getattr(layout, "spec", None)
    if spec is None:
        return type(layout).__name__
    entries = ["+".join(e) if isinstance(e, tuple) else str(e or "-") for e in spec]
    return f"({', '.join(entries)})" if any(e is not None for e in spec) else "replicated"
