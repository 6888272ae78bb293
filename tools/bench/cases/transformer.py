"""A transformer of 24 layers: tracing, making its parameters, and the compiled program.

The cases are like those of the same names for the simpler stack of blocks: warm, with tracing in
processor time. `trace-transformer-scan` traces one layer that is scanned over instead of 24.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from bench.case import (
    BY_HAND,
    FLAX,
    LINNET,
    THREAD,
    Builder,
    Case,
    Comparison,
    Measure,
    Unit,
    timed,
)
from bench.models import transformer

_FORMS = (LINNET, FLAX, BY_HAND)
_COUNTS = {"flops": (Unit.FLOPS, 1.001), "bytes accessed": (Unit.BYTES, 1.01)}
_KINDS = ("eval", "grad-step")


def _arguments(*, scanned: bool = False) -> tuple[Any, ...]:
    parameters = transformer.parameters(scanned=scanned)
    return parameters, transformer.inputs(), jax.random.key(0)


def _tracing(form: str, *, train: bool, scanned: bool = False) -> Builder:
    def build() -> Measure:
        model, arguments = transformer.model(form, scanned=scanned), _arguments(scanned=scanned)
        apply = model.train if train else model.evaluate

        def trace() -> object:
            return jax.jit(lambda params, x, key: apply(params, x, key)).trace(*arguments)

        return timed(trace, clock=THREAD)

    return build


def _init(form: str, *, abstract: bool) -> Builder:
    def build() -> Measure:
        init = transformer.model(form).init
        key, x = jax.random.key(0), transformer.inputs(1, 16)
        if not abstract:
            return timed(lambda: init(key, x))
        return timed(lambda: jax.eval_shape(lambda key, x: init(key, x), key, x), clock=THREAD)

    return build


@functools.cache
def _compiled(form: str, kind: str) -> Any:
    """`apply` without dropout, or a step of gradient descent with dropout."""
    model = transformer.model(form)

    def step(params: Any, x: Any, key: Any) -> Any:
        def loss(params: Any) -> Any:
            return jnp.mean(jnp.square(model.train(params, x, key)))

        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params))

    return jax.jit(step if kind == "grad-step" else model.evaluate).lower(*_arguments()).compile()


def _running(form: str, kind: str) -> Builder:
    def build() -> Measure:
        run, arguments = _compiled(form, kind), _arguments()
        return timed(lambda: run(*arguments))

    return build


def _count(form: str, kind: str, count: str) -> Builder:
    def build() -> Measure:
        analysis = _compiled(form, kind).cost_analysis()
        # Some versions of jax return a list with an entry for each computation.
        entry = analysis[0] if isinstance(analysis, list) else analysis
        return lambda: float(entry[count])

    return build


CASES = [
    *(
        Case(
            f"trace-transformer-{kind}",
            f"trace apply of 24 layers: {kind}",
            {form: _tracing(form, train=kind == "train") for form in _FORMS},
            [Comparison(LINNET, BY_HAND, at_most=1.0), Comparison(LINNET, FLAX)],
        )
        for kind in ("eval", "train")
    ),
    Case(
        "trace-transformer-scan",
        "trace apply of nn.scan over 24 layers, with dropout",
        {form: _tracing(form, train=True, scanned=True) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=0.5), Comparison(LINNET, BY_HAND)],
    ),
    Case(
        "init-transformer-abstract",
        "jax.eval_shape of init of 24 layers",
        {form: _init(form, abstract=True) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=0.4), Comparison(LINNET, BY_HAND)],
    ),
    Case(
        "init-transformer-eager",
        "init of 24 layers, eagerly, warm",
        {form: _init(form, abstract=False) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=0.8), Comparison(LINNET, BY_HAND)],
    ),
    *(
        Case(
            f"{count.split()[0]}-transformer-{kind}",
            f"{count} of the compiled transformer: {kind}",
            {form: _count(form, kind, count) for form in _FORMS},
            [Comparison(LINNET, FLAX, at_most=at_most), Comparison(LINNET, BY_HAND)],
            unit=unit,
            exact=True,
        )
        for kind in _KINDS
        for count, (unit, at_most) in _COUNTS.items()
    ),
    *(
        Case(
            f"run-transformer-{kind}",
            f"run the compiled transformer: {kind}",
            {form: _running(form, kind) for form in _FORMS},
            [Comparison(LINNET, FLAX, at_most=1.05), Comparison(LINNET, BY_HAND)],
        )
        for kind in _KINDS
    ),
]
