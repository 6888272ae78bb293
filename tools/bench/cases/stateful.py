"""nnx: the cost of a call under `nnx.jit`, against `jax.jit` on a flat list of the same arrays.

`flat` is `jax.jit(lambda arrays: [a + 1 for a in arrays])`, over the arrays of model and optimizer;
`flat, in` takes them and returns nothing.
`by hand` is the same training step with the state kept as one flat list outside.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

import jax

from bench.case import (
    BY_HAND,
    FLAX,
    LINNET,
    THREAD,
    Builder,
    Case,
    Comparison,
    Measure,
    per_part,
    timed,
)
from bench.models import modules
from bench.models import transformer as linen_transformer

FLAT, FLAT_IN = "flat jax.jit", "flat, in"
EQUINOX = "equinox"
CALLS = 20
"""Calls in one measurement, enough to make the cost of reading the clock negligible."""

_HAS_EQUINOX = importlib.util.find_spec("equinox") is not None


def _repeated(run: Any, *, wait: bool = True) -> Measure:
    def many() -> None:
        for _ in range(CALLS):
            result = run()
            if wait:
                jax.block_until_ready(result)  # type: ignore[no-untyped-call]

    many()
    whole = timed(many)
    return lambda: whole() / CALLS


def _arrays(form: str, *, with_optimizer: bool) -> list[Any]:
    nnx = modules.nnx_of(form)
    model = modules.stack(form)
    parts = [model, modules.optimizer(form, model)] if with_optimizer else [model]
    return jax.tree.leaves([nnx.state(p) for p in parts])


def _flat(*, with_optimizer: bool, out: bool = True) -> Builder:
    def build() -> Measure:
        arrays = _arrays(LINNET, with_optimizer=with_optimizer)
        run = jax.jit(lambda arrays: [a + 1 for a in arrays] if out else None)
        return _repeated(lambda: run(arrays))

    return build


def _nothing(form: str) -> Builder:
    def build() -> Measure:
        model = modules.stack(form)
        optimizer = modules.optimizer(form, model)
        run = modules.nnx_of(form).jit(lambda model, optimizer: None)
        return _repeated(lambda: run(model, optimizer))

    return build


def _forward(form: str) -> Builder:
    def build() -> Measure:
        model, x = modules.stack(form), modules.batch()
        run = modules.nnx_of(form).jit(lambda model, x: model(x))
        return _repeated(lambda: run(model, x))

    return build


def _step(form: str) -> Builder:
    def build() -> Measure:
        model, x = modules.stack(form), modules.batch()
        optimizer = modules.optimizer(form, model)
        run = modules.nnx_of(form).jit(modules.step(form))
        return _repeated(lambda: run(model, optimizer, x))

    return build


def _step_by_hand() -> Measure:
    nnx = modules.nnx_of(LINNET)
    model, x = modules.stack(LINNET), modules.batch()
    graphdef, state = nnx.split({"model": model, "optimizer": modules.optimizer(LINNET, model)})
    arrays, structure = jax.tree.flatten(state)

    @jax.jit
    def run(arrays: Any, x: Any) -> Any:
        both = nnx.merge(graphdef, jax.tree.unflatten(structure, arrays))
        loss = modules.step(LINNET)(both["model"], both["optimizer"], x)
        return jax.tree.leaves(nnx.state(both)), loss

    def once() -> Any:
        nonlocal arrays
        arrays, loss = run(arrays, x)
        return loss

    return _repeated(once)


def _per_array(form: str, make: Any) -> Builder:
    """The dispatch of one more array: a call with many arrays, minus a call with one."""

    def build() -> Measure:
        whole, nothing = make(200), make(0)
        return per_part(200, _repeated(whole), _repeated(nothing))

    return build


def _with_nnx(count: int) -> Any:
    nnx = modules.nnx_of(LINNET)

    class Holder(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.arrays = [nnx.Param(jax.numpy.ones(WIDTH)) for _ in range(count + 1)]

    holder = Holder()
    run = nnx.jit(lambda holder: holder.arrays[0][...] + 1)
    return lambda: run(holder)


def _with_equinox(count: int) -> Any:
    eqx = importlib.import_module("equinox")

    class Holder(eqx.Module):  # type: ignore[misc, name-defined]
        arrays: list[Any]

    holder = Holder([jax.numpy.ones(WIDTH) for _ in range(count + 1)])
    run = eqx.filter_jit(lambda holder: holder.arrays[0] + 1)
    return lambda: run(holder)


WIDTH = modules.WIDTH


def _graph_function(form: str, name: str) -> Builder:
    def build() -> Measure:
        nnx, model = modules.nnx_of(form), modules.stack(form)
        graphdef, state = nnx.split(model)
        runs = {
            "split": lambda: nnx.split(model),
            "state": lambda: nnx.state(model),
            "merge": lambda: nnx.merge(graphdef, state),
            "update": lambda: nnx.update(model, state),
        }
        # The arrays are ready; looking for them in the result would cost more than making it.
        return _repeated(runs[name], wait=False)

    return build


def _construct(form: str) -> Builder:
    def build() -> Measure:
        nnx = modules.nnx_of(form)
        return timed(lambda: _keys(nnx, modules.transformer(form)(modules.LAYERS, nnx.Rngs(0))))

    return build


def _keys(nnx: Any, model: Any) -> Any:
    return jax.tree.leaves(nnx.state(model))


def _eval_shape(form: str, layers: int) -> Builder:
    def build() -> Measure:
        nnx = modules.nnx_of(form)
        make = modules.transformer(form)
        return timed(
            lambda: nnx.eval_shape(lambda: make(layers, nnx.Rngs(0))) and None, clock=THREAD
        )

    return build


def _eval_shape_per_layer(layers: int) -> Builder:
    def build() -> Measure:
        one = _eval_shape(LINNET, layers)()
        return lambda: one() / layers

    return build


def _trace(form: str) -> Builder:
    def build() -> Measure:
        x = linen_transformer.inputs()
        if form == BY_HAND:
            model = linen_transformer.model(BY_HAND)
            arguments = (linen_transformer.parameters(), x, jax.random.key(0))
            return timed(
                lambda: jax.jit(lambda *a: model.evaluate(*a)).trace(*arguments), clock=THREAD
            )
        nnx = modules.nnx_of(form)
        graphdef, state = nnx.split(modules.transformer(form)(modules.LAYERS, nnx.Rngs(0)))

        def trace() -> object:
            return jax.jit(lambda state, x: nnx.merge(graphdef, state)(x)).trace(state, x)

        return timed(trace, clock=THREAD)

    return build


def _both(make: Any) -> dict[str, Builder]:
    return {form: make(form) for form in (LINNET, FLAX)}


CASES = [
    Case(
        "nnx-jit-nothing",
        "nnx.jit that does nothing, over 702 arrays of model and optimizer",
        {
            **_both(_nothing),
            FLAT: _flat(with_optimizer=True),
            FLAT_IN: _flat(with_optimizer=True, out=False),
        },
        [
            Comparison(LINNET, FLAT, at_most=0.4),
            Comparison(LINNET, FLAT_IN, at_most=1.5),
            Comparison(LINNET, FLAX),
        ],
    ),
    Case(
        "nnx-jit-forward",
        "nnx.jit of a forward pass in training mode, against flat over all 702 arrays",
        {**_both(_forward), FLAT: _flat(with_optimizer=True)},
        [Comparison(LINNET, FLAT, at_most=1.0), Comparison(LINNET, FLAX)],
    ),
    Case(
        "nnx-jit-step",
        "nnx.jit of a training step with Adam",
        {**_both(_step), BY_HAND: _step_by_hand},
        [Comparison(LINNET, BY_HAND, at_most=1.25), Comparison(LINNET, FLAX, at_most=0.12)],
    ),
    *(
        [
            Case(
                "nnx-jit-array",
                "the cost of one more array in a call",
                {
                    LINNET: _per_array(LINNET, _with_nnx),
                    EQUINOX: _per_array(EQUINOX, _with_equinox),
                },
                [Comparison(LINNET, EQUINOX, at_most=0.5)],
            )
        ]
        if _HAS_EQUINOX
        else []
    ),
    *(
        Case(
            f"nnx-{name}",
            f"nnx.{name} of 50 x (Linear, BatchNorm)",
            _both(functools.partial(_graph_function, name=name)),
            [Comparison(LINNET, FLAX, at_most=0.2)],
        )
        for name in ("split", "state", "merge", "update")
    ),
    Case(
        "nnx-construct",
        "make a transformer of 24 layers",
        _both(_construct),
        [Comparison(LINNET, FLAX, at_most=0.7)],
    ),
    Case(
        "nnx-eval-shape",
        "nnx.eval_shape of a transformer of 24 layers",
        _both(functools.partial(_eval_shape, layers=modules.LAYERS)),
        [Comparison(LINNET, FLAX, at_most=0.2)],
    ),
    Case(
        "nnx-eval-shape-depth",
        "nnx.eval_shape: time per layer, 96 layers over 24",
        {f"{LINNET} {n}": _eval_shape_per_layer(n) for n in (96, 24)},
        [Comparison(f"{LINNET} 96", f"{LINNET} 24", at_most=1.2)],
    ),
    Case(
        "nnx-trace",
        "trace merge and call of a transformer of 24 layers",
        {**_both(_trace), BY_HAND: _trace(BY_HAND)},
        [Comparison(LINNET, FLAX, at_most=0.5), Comparison(LINNET, BY_HAND, at_most=1.0)],
    ),
]
