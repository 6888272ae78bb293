"""Tracing `apply` of 24 blocks, before anything is compiled.

`jax.jit` gets a new function each time, so its trace is never cached. The cases differ in jax's
caches of the jitted functions inside, such as gelu and bernoulli:

* `trace-*`: kept, as in a program that has traced such layers before;
* `first-trace-*`: cleared before each measurement, by `jax.clear_caches()`, as in a program's first
  trace.
"""

from __future__ import annotations

import jax

from bench.case import BY_HAND, FLAX, LINNET, THREAD, Builder, Case, Comparison, Measure, timed
from bench.models import mlp


def tracing(
    form: str, *, train: bool, first: bool = False, blocks: int = mlp.BLOCKS, times: int = 1
) -> Builder:
    """A contender that traces `apply`, `times` times."""

    def build() -> Measure:
        model = mlp.model(form, blocks)
        apply = model.train if train else model.evaluate
        arguments = mlp.parameters(blocks), mlp.inputs(), jax.random.key(0)

        def trace() -> object:
            return jax.jit(lambda params, x, key: apply(params, x, key)).trace(*arguments)

        def traces() -> object:
            return [trace() for _ in range(times)]

        return timed(traces, clock=THREAD, before=jax.clear_caches if first else None)

    return build


def _case(name: str, about: str, *, train: bool, first: bool) -> Case:
    forms = (LINNET, FLAX, BY_HAND)
    return Case(
        name,
        about,
        {form: tracing(form, train=train, first=first) for form in forms},
        [Comparison(LINNET, BY_HAND, at_most=1.0), Comparison(LINNET, FLAX)],
    )


CASES = [
    _case("trace-eval", "trace apply, no dropout", train=False, first=False),
    _case("trace-train", "trace apply with dropout", train=True, first=False),
    _case("first-trace-eval", "trace apply, no dropout, empty caches", train=False, first=True),
    _case("first-trace-train", "trace apply with dropout, empty caches", train=True, first=True),
]
