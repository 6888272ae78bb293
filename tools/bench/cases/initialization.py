"""Making the parameters of 24 blocks.

They are made abstractly, with `jax.eval_shape` of a new function each time, and eagerly. Both are
measured warm: jax has seen the shapes and compiled the eager operations. The input is one example
of 16 tokens, as usual for initialization; with a large batch, the forward pass would dominate.
"""

from __future__ import annotations

import jax

from bench.case import (
    BY_HAND,
    FLAX,
    LINNET,
    PROCESS,
    THREAD,
    WALL,
    Builder,
    Case,
    Clock,
    Comparison,
    Measure,
    timed,
)
from bench.models import mlp


def abstract_init(form: str, *, blocks: int = mlp.BLOCKS, times: int = 1) -> Builder:
    """A contender that makes the parameters' shapes, `times` times."""

    def build() -> Measure:
        init = mlp.model(form, blocks).init
        key, x = jax.random.key(0), mlp.inputs(1, 16)

        def shapes() -> object:
            return jax.eval_shape(lambda key, x: init(key, x), key, x)

        return timed(lambda: [shapes() for _ in range(times)], clock=THREAD)

    return build


def eager_init(
    form: str, *, blocks: int = mlp.BLOCKS, times: int = 1, clock: Clock = WALL
) -> Builder:
    """A contender that makes the parameters, operation by operation, `times` times."""

    def build() -> Measure:
        init = mlp.model(form, blocks).init
        key, x = jax.random.key(0), mlp.inputs(1, 16)
        return timed(lambda: [init(key, x) for _ in range(times)], clock=clock)

    return build


_FORMS = (LINNET, FLAX, BY_HAND)

CASES = [
    Case(
        "init-abstract",
        "jax.eval_shape of init",
        {form: abstract_init(form) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=0.4), Comparison(LINNET, BY_HAND)],
    ),
    Case(
        "init-eager",
        "init, eagerly, warm",
        {form: eager_init(form) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=0.8), Comparison(LINNET, BY_HAND)],
    ),
    Case(
        "init-eager-processor",
        "the same in processor time, for a busy machine",
        {form: eager_init(form, clock=PROCESS) for form in _FORMS},
        [Comparison(LINNET, FLAX), Comparison(LINNET, BY_HAND)],
    ),
]
