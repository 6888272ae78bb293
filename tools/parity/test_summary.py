"""Tables of models against Flax's: the same rows, shapes, amounts and FLOPs.

Both tables are drawn by rich, wide enough that no line is broken, and read by the same reader, so
the texts are compared. The order of Flax's collections is arbitrary.
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
    totals = {c: amounts(total[c]) for c in collections}
    bottom = [amounts([line]) for line in lines if "Total Parameters" in line]
    return [row(r, collections) for r in rows], totals, bottom


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
    return sorted(re.findall(r"[a-z]+\d*\[[\d,]*\]", " ".join(cell)))  # Flax sorts dicts


def amounts(cell):
    found = re.findall(r"[\d,]+ \([\d.,]+ [KMG]?B\)", " ".join(cell))
    return [text for text in found if text != "0 (0 B)"]  # Flax leaves that out


def tabulate(module, rngs, *args, **kwargs):
    if isinstance(module, linnet.linen.Module):
        kwargs["table_kwargs"] = {"show_lines": True}  # as Flax has them, even where none is needed
    return read(module.tabulate(rngs, *args, console_kwargs=CONSOLE, **kwargs))


def of_case(case, **kwargs):
    rngs = {s: jax.random.PRNGKey(i) for i, s in enumerate(case.init_streams)}
    method = {k: v for k, v in case.kwargs.items() if k == "method"}
    return tabulate(case.make(), rngs, *case.args, **method, **kwargs)


@pytest.mark.parametrize("name", FLAX)
def test_rows(name):
    assert of_case(LINNET[name]) == of_case(FLAX[name])


# With raw keys: XLA counts a typed one as -1 operations, which we avoid and Flax doesn't.
@pytest.mark.parametrize(
    "name",
    ["compact", "setup", "shared_field", "passed", "noisy", "counter_all", "images", "tokens"],
)
def test_flops(name):
    kwargs = {"compute_flops": True, "compute_vjp_flops": True}
    assert of_case(LINNET[name], **kwargs) == of_case(FLAX[name], **kwargs)


NAMES = ["fields", "deep", "sequential", "methods", "one_method", "share_scope", "counter_all"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kwargs",
    [{"show_repeated": True}, {"depth": 0}, {"depth": 1}, {"mutable": True}],
    ids=["repeated", "0", "1", "mutable"],
)
def test_choices(name, kwargs):
    assert of_case(LINNET[name], **kwargs) == of_case(FLAX[name], **kwargs)


@pytest.mark.parametrize("name", FLAX)
@pytest.mark.parametrize("show_repeated", [False, True])
def test_module_paths(name, show_repeated):
    def paths(case):
        rngs = {s: jax.random.key(i) for i, s in enumerate(case.init_streams)}
        method = {k: v for k, v in case.kwargs.items() if k == "method"}
        found = case.make().module_paths(rngs, *case.args, show_repeated=show_repeated, **method)
        assert all(module.scope is None and module.name is None for module in found.values())
        return {path: type(module).__name__ for path, module in found.items()}

    assert paths(LINNET[name]) == paths(FLAX[name])


def build(nn):
    """A model with batch statistics, an option, dropout, and integers among its outputs."""

    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
            var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:])
            scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
            if train:
                mu, sigma = x.mean(0), x.var(0)
                if not self.is_initializing():
                    mean.value = 0.9 * mean.value + 0.1 * mu
                    var.value = 0.9 * var.value + 0.1 * sigma
            else:
                mu, sigma = mean.value, var.value
            return (x - mu) / jnp.sqrt(sigma + 1e-5) * scale

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, labels=None, train=False):
            x = nn.relu(Norm()(nn.Dense(4)(x), train))
            x = nn.Dropout(0.5, deterministic=not train)(x)
            x = nn.Dense(2, dtype=jnp.bfloat16, name="head")(x)
            return {"y": x, "best": (jnp.argmax(x, -1), labels)}

    return Net()


@pytest.mark.parametrize("train", [False, True])
def test_statistics_options_and_integers(train):
    def table(nn):
        rngs = {"params": jax.random.PRNGKey(0), "dropout": jax.random.PRNGKey(1)}
        costs = {"compute_flops": True, "compute_vjp_flops": True}
        x, labels = jnp.ones((5, 3)), jnp.arange(5)
        return tabulate(build(nn), rngs, x, labels, train=train, **costs)

    assert table(linnet.linen) == table(flax.linen)


# The interface.


def signature(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, str(p.default).replace("deny=", "")) for p in parameters]


@pytest.mark.parametrize("name", ["tabulate", "Row", "Table"])
def test_signatures(name):
    ours = getattr(linnet.module_core.linen.summary, name)
    assert signature(ours) == signature(getattr(flax.linen.summary, name))


@pytest.mark.parametrize("name", ["tabulate", "module_paths"])
def test_methods(name):
    ours = getattr(linnet.linen.Module, name)
    assert signature(ours) == signature(getattr(flax.linen.Module, name))


def test_fields_of_rows():
    ours, theirs = linnet.module_core.linen.summary.Row, flax.linen.summary.Row
    assert [f.name for f in dataclasses.fields(ours)] == [
        f.name for f in dataclasses.fields(theirs)
    ]
    assert signature(ours.size_and_bytes) == signature(theirs.size_and_bytes)
