"""Tables of models against Flax's: the same rows, shapes, amounts and FLOPs.

Both tables are drawn by rich, wide enough that no line is broken, and read by the same reader, so
that it is the texts which are compared. Flax leaves the order of the collections to chance.
"""

from __future__ import annotations

import dataclasses
import inspect
import re

import flax
import flax.linen
import flax.linen.summary
import jax
import jax.numpy as jnp
import pytest

import linnet.linen
import linnet.module_core.linen.summary
from parity import module_models

FLAX = module_models.build(flax.linen)
LINNET = module_models.build(linnet.linen)
CONSOLE = {"width": 600, "force_terminal": False}


@dataclasses.dataclass
class Read:
    """A row as it is read from a table."""

    path: str
    module: str
    inputs: list[str]
    outputs: list[str]
    flops: str
    vjp_flops: str
    variables: dict[str, tuple[list[str], list[str]]]  # shapes, and elements with bytes


def read(table):
    """The rows of a table, and its bottom lines."""
    lines = table.splitlines()
    titles = next([c.strip() for c in line.split("┃")[1:-1]] for line in lines if "┃" in line)
    rows, cells = [], None
    for line in lines:
        if line.startswith("│"):
            parts = [part.strip() for part in line.split("│")[1:-1]]
            if cells is None:
                cells = [[] for _ in titles]
            for cell, part in zip(cells, parts, strict=True):
                cell += [part] if part else []
        elif cells is not None:
            rows.append(dict(zip(titles, cells, strict=True)))
            cells = None
    *rows, total = rows
    collections = titles[titles.index("outputs") + 1 :]
    collections = [c for c in collections if c not in ("flops", "vjp_flops")]
    amounts = {c: total[c] for c in collections}
    (bottom,) = [line.strip() for line in lines if "Total Parameters" in line]
    return [row(r, collections) for r in rows], amounts, bottom


def row(cells, collections):
    return Read(
        "".join(cells["path"]),
        "".join(cells["module"]),
        shapes(cells["inputs"]),
        shapes(cells["outputs"]),
        "".join(cells.get("flops", [])).replace(",", ""),
        "".join(cells.get("vjp_flops", [])).replace(",", ""),
        {c: (shapes(cells[c]), amounts(cells[c])) for c in collections},
    )


def shapes(cell):
    return re.findall(r"[a-z]+\d*\[[\d,]*\]", " ".join(cell))


def amounts(cell):
    return re.findall(r"[\d,]+ \([\d.,]+ [KMG]?B\)", " ".join(cell))


def tabulate(case, **kwargs):
    rngs = {s: jax.random.key(i) for i, s in enumerate(case.init_streams)}
    method = {k: v for k, v in case.kwargs.items() if k == "method"}
    return case.make().tabulate(rngs, *case.args, console_kwargs=CONSOLE, **method, **kwargs)


@pytest.mark.parametrize("name", FLAX)
def test_rows(name):
    kwargs = {"compute_flops": True, "compute_vjp_flops": True}
    assert read(tabulate(LINNET[name], **kwargs)) == read(tabulate(FLAX[name], **kwargs))
