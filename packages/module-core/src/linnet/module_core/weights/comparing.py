"""Finds the layer at which a model's outputs diverge from those of the same model in PyTorch.

Two tables of intermediate results are matched by name: ours, from `nnx.capture` or linen's
`capture_intermediates`, and PyTorch's, from forward hooks. Rows are in the order in which PyTorch's
layers ended, so the first row that differs is the innermost layer at fault.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import nnx
from ..errors import ArgumentError, ArgumentTypeError, counted
from ..layers.torch_layout import Numbers
from .arrays import numbers
from .matching import fits
from .names import Renames, canonical

_MOST = 20
_WHOLE = "(model)"


class ComparedLayer(NamedTuple):
    """A row of the table.

    Attributes:
      theirs: the name of PyTorch's layer.
      ours: the path of ours.
      shape: the shape of our output.
      difference: the largest difference, relative to the largest number in PyTorch's output; inf
        if the outputs have different numbers of elements, or NaNs in different places.
      note: how PyTorch's output was arranged, or why it can't be compared.
    """

    theirs: str
    ours: str
    shape: tuple[int, ...]
    difference: float
    note: str


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_intermediates`, which `print` shows as a table.

    Attributes:
      layers: a row for each layer found on both sides, in PyTorch's order.
      first: the first row whose difference exceeds the tolerance, or None.
      unmatched: names of PyTorch's layers that have no counterpart -> the nearest of our paths.
      tolerance: the largest difference that counts as equal.
    """

    layers: tuple[ComparedLayer, ...]
    first: ComparedLayer | None
    unmatched: Mapping[str, Sequence[str]]
    tolerance: float

    def __str__(self) -> str:
        rows = [("PyTorch", "here", "shape", "difference", "")]
        for layer in self.layers:
            difference = f"{layer.difference:.1e}"
            note = "<- first" if layer is self.first else ""
            note = ", ".join(filter(None, [note, layer.note]))
            names = (layer.theirs or _WHOLE, layer.ours or _WHOLE)
            rows.append((*names, str(layer.shape), difference, note))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        if self.first is None:
            count = len(self.layers)
            outputs = counted(count, "output")
            agree = f"The {outputs} agrees" if count == 1 else f"All {outputs} agree"
            lines.append(f"{agree} within {self.tolerance:.0e}.")
        else:
            before = self.layers.index(self.first)
            where = f"{self.first.theirs or _WHOLE} (here {self.first.ours or _WHOLE})"
            layers, agree = counted(before, "layer"), "agrees" if before == 1 else "agree"
            lines.append(f"Outputs diverge at {where}, after {layers} that {agree}.")
        for name, near in list(self.unmatched.items())[:_MOST]:
            nearest = f"; nearest: {', '.join(near)}" if near else ""
            lines.append(f"Not compared: {name}{nearest}")
        if len(self.unmatched) > _MOST:
            lines.append(f"… and {len(self.unmatched) - _MOST} more")
        return "\n".join(lines)


def compare_intermediates(
    ours: object,
    theirs: Mapping[str, Any],
    *,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    tolerance: float = 1e-4,
) -> Comparison:
    """Compares the outputs of a model's layers with those of the same model in PyTorch.

    Names are matched as in `from_torch`, with the same renames. Layers of `Repeat` are compared one
    by one. Where only the shapes differ, PyTorch's outputs are converted to ours: channels last, or
    heads in a dimension of their own.

    Args:
      ours: the state that `nnx.capture(model, method_outputs=nnx.Intermediate)` returns, linen's
        variables from a call with `capture_intermediates=True`, or any nested mapping of arrays. If
        a layer is called several times, the first call is compared.
      theirs: names of PyTorch's layers -> their outputs, in the order in which the layers ended,
        as forward hooks give them. If the output is a tuple, its first item is compared.
      rename: PyTorch's names -> ours, as in `from_torch`.
      ignore: patterns of the names of PyTorch's layers that are not compared, such as a projection
        that is part of one of our layers: "*.attention.self".
      tolerance: the largest difference that counts as equal, relative to the largest number in
        PyTorch's output.

    Returns:
      The table; `first` is the first layer whose outputs differ.

    Raises:
      ArgumentTypeError: an argument does not have the form described above.
      ArgumentError: no name matches, or the tolerance is not positive.

    >>> import numpy as np
    >>> ours = {"dense": np.array([1.0, 2.0]), "norm": np.array([3.0, 4.0])}
    >>> theirs = {"fc.0": np.array([1.0, 2.0]), "fc.1": np.array([3.0, 5.0])}
    >>> names = {"fc.0": "dense", "fc.1": "norm"}
    >>> found = compare_intermediates(ours, theirs, rename=names)
    >>> found.first.theirs, found.first.difference
    ('fc.1', 0.2)
    >>> print(found)
    PyTorch  here   shape  difference
    fc.0     dense  (2,)   0.0e+00
    fc.1     norm   (2,)   2.0e-01     <- first
    Outputs diverge at fc.1 (here norm), after 1 layer that agrees.
    """
    if not isinstance(theirs, Mapping):
        raise ArgumentTypeError(
            f"theirs is a {type(theirs).__name__}, expected a mapping of layers' names to outputs.",
            hint="Collect them in a dict, with a forward hook on each module.",
        )
    if not tolerance > 0:
        raise ArgumentError(f"tolerance={tolerance} must be positive.")
    ignore = (ignore,) if isinstance(ignore, str) else ignore
    table = _by_name(ours)
    if not table:
        raise ArgumentError(
            "`ours` has no outputs to compare.",
            hint="Pass nnx.capture(model, method_outputs=nnx.Intermediate)(*inputs)[1], or in linen"
            ' apply(..., capture_intermediates=True, mutable=["intermediates"])[1].',
        )
    renames = Renames(rename)
    rows: list[ComparedLayer] = []
    unmatched: dict[str, list[str]] = {}
    for name, value in theirs.items():
        path = renames.forward(name)
        if fits(name, ignore) or (name and not path):
            continue  # a prefix that a rename drops is not our whole model
        found = table.get(canonical(re.sub(r"\[(\d+)\]", r"/\1", path)))
        if found is None:
            near = get_close_matches(canonical(path), table, n=2, cutoff=0.5)
            unmatched[name] = [table[other][0] for other in near]
        else:
            rows.append(_compared(name, found[0], _first(value, name), found[1]))
    if not rows:
        some = next(iter(unmatched), "")
        paths = ", ".join(path for path, _ in list(table.values())[:5])
        raise ArgumentError(
            f"None of PyTorch's {len(unmatched)} names, such as {some!r}, is one of ours: {paths},"
            " ….",
            hint="Pass the renames of from_torch as rename=.",
        )
    first = next((row for row in rows if not row.difference <= tolerance), None)
    return Comparison(tuple(rows), first, unmatched, tolerance)


def _by_name(ours: object) -> dict[str, tuple[str, Numbers]]:
    """Our outputs by the spelling of their paths, with an entry for each layer of a `Repeat`."""
    found: dict[str, tuple[str, Numbers]] = {}
    flat = dict(_flattened(ours, ()))
    for path, value in flat.items():
        for name, part in _layers(path, value, flat):
            found.setdefault(canonical(name), (name, part))
    for spelling, entry in list(found.items()):
        for other in _without_layers(spelling):
            found.setdefault(other, entry)
    return found


def _without_layers(spelling: str) -> Iterator[str]:
    """Other spellings of a path: PyTorch numbers the layers of a `Sequential` without "layers"."""
    parts = re.split(r"(?:(?<=/)|^)layers/(?=\d)", spelling)
    for between in itertools.product(("layers/", ""), repeat=len(parts) - 1):
        yield "".join(itertools.chain(*zip(parts, (*between, ""), strict=True)))


def _flattened(tree: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Numbers]]:
    if isinstance(tree, nnx.State):
        tree = nnx.to_pure_dict(tree)
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            outer = key == "intermediates" and not path
            last = key == "__call__"
            yield from _flattened(value, path if outer or last else (*path, str(key)))
        return
    leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, "shape")]
    if leaves:
        yield path, np.asarray(leaves[0])


def _layers(
    path: tuple[str, ...], value: Numbers, flat: Mapping[tuple[str, ...], Numbers]
) -> Iterator[tuple[str, Numbers]]:
    """An output, and if it is stacked, those of the layers of a `Repeat`: "layers/3/dense"."""
    yield "/".join(path), value
    for i, part in enumerate(path):
        match = re.fullmatch(r"block(?:_(\d+))?", part)
        if match is None or not value.ndim:
            continue
        others = {p[i] for p in flat if p[:i] == path[:i] and len(p) > i}
        each = sum(bool(re.fullmatch(r"block_\d+", other)) for other in others) if match[1] else 1
        for step, one in enumerate(value):
            number = step * each + int(match[1] or 0)
            name = (*path[:i], str(number), *path[i + 1 :])
            yield from _layers(name, one, {})
        return


def _first(value: Any, name: str) -> Numbers:
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return numbers(value, name)


def _compared(theirs: str, ours: str, other: Numbers, mine: Numbers) -> ComparedLayer:
    """A row for the arrangement with the smallest difference among those that fit."""
    candidates = [("", other)] if other.shape == mine.shape else []
    if other.ndim > 2:
        last = np.moveaxis(other, 1, -1)
        if last.shape == mine.shape and other.shape[1] > 1:
            candidates.append(("channels last", last))
    if not candidates and other.size == mine.size:
        candidates.append((f"{other.shape} reshaped", other.reshape(mine.shape)))
    if not candidates:
        note = f"PyTorch's has shape {other.shape}"
        return ComparedLayer(theirs, ours, mine.shape, float("inf"), note)
    measured = [(_difference(mine, value), note) for note, value in candidates]
    difference, note = min(measured, key=lambda pair: pair[0])
    return ComparedLayer(theirs, ours, mine.shape, difference, note)


def _difference(mine: Numbers, other: Numbers) -> float:
    kind = np.complex128 if np.iscomplexobj(mine) or np.iscomplexobj(other) else np.float64
    one, two = mine.astype(kind), other.astype(kind)
    if not mine.size:
        return 0.0
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(one - two)).max()
    scale = np.abs(np.where(np.isfinite(two), two, 0.0)).max()
    result = float(gap / scale) if scale else float(gap)
    return result if result == result else float("inf")
