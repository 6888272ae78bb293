"""Tables of models and the shapes of abstract models, compared with Flax."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx as flax_nnx

from linnet import nnx
from linnet.module_core.nnx import tabulate

X = jnp.ones((4, 2))


def model_of(library):
    class Block(library.Module):
        def __init__(self, rngs):
            self.linear = library.Linear(2, 3, rngs=rngs)
            self.norm = library.LayerNorm(3, rngs=rngs)

        def __call__(self, x):
            return self.norm(self.linear(x))

    class Net(library.Module):
        def __init__(self, rngs):
            self.block = Block(rngs)
            self.head = library.Linear(3, 2, rngs=rngs)
            self.shared = self.head
            self.drop = library.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.head(self.drop(self.block(x)))

    return Net(library.Rngs(0))


def cells(text):
    """Rows of the table as tuples of words, without empty lines or colors."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    rows = []
    for line in plain.splitlines():
        row = tuple(c.strip() for c in re.split("[│┃]", line)[1:-1])
        if any(row):
            rows.append(row)
    return rows


@pytest.mark.parametrize("options", [{}, {"depth": 1}, {"depth": 0}], ids=str)
def test_tables(options):
    found = [
        cells(draw(model_of(library), X, console_kwargs={"width": 160}, **options))
        for library, draw in ((nnx, tabulate), (flax_nnx, flax_nnx.tabulate))
    ]
    assert found[0] == found[1]


def test_costs_of_a_linear_layer():
    found = []
    for library, draw in ((nnx, tabulate), (flax_nnx, flax_nnx.tabulate)):
        text = draw(
            library.Linear(2, 3, rngs=library.Rngs(0)),
            X,
            compute_flops=True,
            compute_vjp_flops=True,
            console_kwargs={"width": 160},
        )
        found.append([row[4:6] for row in cells(text)])
    assert found[0] == found[1]


def test_eval_shape():
    found = []
    for library in (nnx, flax_nnx):
        model = library.eval_shape(lambda library=library: model_of(library))
        flat = library.to_flat_state(library.state(model))
        found.append([(p, type(v).__name__, v.shape, str(v.dtype)) for p, v in flat])
        out = library.eval_shape(lambda m, x: m(x), model, jax.ShapeDtypeStruct((3, 2), X.dtype))
        found[-1].append(out.shape)
    assert found[0] == found[1]
