"""Cost of one block in a stack of 96, relative to a stack of 6: nothing may grow with the depth.

A call's fixed cost is part of it, divided by the number of blocks; so is what the interpreter pays
for a larger program. All warm, as in the cases of the same names.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.case import BY_HAND, FLAX, LINNET, Builder, Case, Comparison, Measure, per

from .initialization import abstract_init, eager_init
from .tracing import tracing

DEEP, SHALLOW = 96, 6

Contender = Callable[[str, int], Builder]


def _per_block(build: Builder, blocks: int) -> Builder:
    def built() -> Measure:
        return per(blocks, build())

    return built


def _case(name: str, about: str, contender: Contender, forms: tuple[str, ...]) -> Case:
    return Case(
        name,
        f"{about}: time per block, 96 blocks over 6",
        {
            f"{form} {blocks}": _per_block(contender(form, blocks), blocks)
            for form in forms
            for blocks in (DEEP, SHALLOW)
        },
        [
            Comparison(
                f"{form} {DEEP}", f"{form} {SHALLOW}", at_most=1.1 if form == LINNET else None
            )
            for form in forms
        ],
    )


CASES = [
    _case(
        "depth-trace",
        "trace apply with dropout",
        lambda form, blocks: tracing(form, train=True, blocks=blocks),
        (LINNET, FLAX, BY_HAND),
    ),
    _case(
        "depth-init-abstract",
        "jax.eval_shape of init",
        lambda form, blocks: abstract_init(form, blocks=blocks),
        (LINNET, FLAX, BY_HAND),
    ),
    _case(
        "depth-init-eager",
        "init, eagerly",
        lambda form, blocks: eager_init(form, blocks=blocks),
        (LINNET, FLAX, BY_HAND),
    ),
]
