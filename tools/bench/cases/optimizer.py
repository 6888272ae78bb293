"""`nnx.Optimizer` over thousands of variables, made and used without `nnx.jit`.

`optax` is what the optimizer calls: Adam's `init` and `update` on a list of the same arrays, with
the updates added. The clock is processor time.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from bench.case import LINNET, PROCESS, Builder, Case, Comparison, Measure, per_part, timed
from bench.models import modules

OPTAX = "optax"
MANY, FEW = 7700, 770


def _model(count: int) -> Any:
    nnx = modules.nnx_of(LINNET)

    class Layer(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.kernel, self.bias = nnx.Param(jnp.ones((8, 8))), nnx.Param(jnp.ones(8))

    class Model(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.layers = nnx.List([Layer() for _ in range(count // 2)])

    return Model()


def _made(count: int) -> Builder:
    def build() -> Measure:
        nnx, model = modules.nnx_of(LINNET), _model(count)

        def make() -> object:
            made = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
            return jax.tree.leaves(nnx.state(made))

        return timed(make, clock=PROCESS)

    return build


def _updated(count: int) -> Builder:
    def build() -> Measure:
        nnx, model = modules.nnx_of(LINNET), _model(count)
        made = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
        gradients = jax.tree.map(jnp.ones_like, nnx.state(model))

        def update() -> object:
            made.update(model, gradients)
            return jax.tree.leaves(nnx.state((model, made)))

        return timed(update, clock=PROCESS)

    return build


def _optax(count: int, *, update: bool) -> Builder:
    def build() -> Measure:
        arrays = jax.tree.leaves(modules.nnx_of(LINNET).state(_model(count)))
        adam = optax.adam(1e-3)
        if not update:
            return timed(lambda: adam.init(arrays), clock=PROCESS)
        state = adam.init(arrays)

        def run() -> object:
            updates, after = adam.update(arrays, state, arrays)
            return optax.apply_updates(arrays, updates), after

        return timed(run, clock=PROCESS)

    return build


def _for_each(count: int) -> Builder:
    return lambda: per_part(count, _made(count)(), lambda: 0.0)


CASES = [
    Case(
        "nnx-optimizer",
        f"make an nnx.Optimizer with Adam over {MANY:,} variables",
        {LINNET: _made(MANY), OPTAX: _optax(MANY, update=False)},
        [Comparison(LINNET, OPTAX, at_most=1.75)],
    ),
    Case(
        "nnx-optimizer-growth",
        f"the same: time for a variable, {MANY:,} variables over {FEW}",
        {str(n): _for_each(n) for n in (MANY, FEW)},
        [Comparison(str(MANY), str(FEW), at_most=1.2)],
    ),
    Case(
        "nnx-optimizer-update",
        "update of 1,000 variables by it, without nnx.jit",
        {LINNET: _updated(1000), OPTAX: _optax(1000, update=True)},
        [Comparison(LINNET, OPTAX, at_most=1.5)],
    ),
]
