"""Cost of one block in a stack of 96, relative to a stack of 6: nothing may grow with the depth.

What a call costs without any blocks is subtracted: it is 1.5 to 2 ms of jax's own when tracing, a
quarter of six blocks, and would hide as much growth. All warm, as in the cases of the same names.
The bound leaves room for what the other contenders show as well: memory that the processor's caches
no longer hold.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.case import BY_HAND, FLAX, LINNET, PROCESS, Builder, Case, Comparison, Measure, per_part

from .initialization import abstract_init, eager_init
from .tracing import tracing

DEEP, SHALLOW = 96, 6

Contender = Callable[[str, int], Builder]


def _per_block(contender: Contender, form: str, blocks: int) -> Builder:
    def build() -> Measure:
        return per_part(blocks, contender(form, blocks)(), contender(form, 0)())

    return build


def _case(name: str, about: str, contender: Contender, forms: tuple[str, ...]) -> Case:
    return Case(
        name,
        f"{about}: time per block, 96 blocks over 6",
        {
            f"{form} {blocks}": _per_block(contender, form, blocks)
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
        lambda form, blocks: eager_init(form, blocks=blocks, clock=PROCESS),
        (LINNET, FLAX, BY_HAND),
    ),
]
