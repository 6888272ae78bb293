"""Cost of one block in a stack of 96, relative to a stack of 6: nothing may grow with the depth.

The small stack is processed 16 times, so that both sides make 96 blocks and keep them until the
clock has been read: 200 MB of parameters need new pages of memory, which take a seventh of the time
to draw them, and the parameters of one small stack don't. The cost of a call without blocks is
subtracted: when tracing, it is 1.5 to 2 ms of jax's own time, a quarter of what six blocks take,
and would hide growth of that size. All cases are warm, like those whose names lack `depth-`.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.case import BY_HAND, FLAX, LINNET, PROCESS, Builder, Case, Comparison, Measure, per_part

from .initialization import abstract_init, eager_init
from .tracing import tracing

DEEP, SHALLOW = 96, 6

Contender = Callable[[str, int, int], Builder]  # form, blocks, times


def _per_block(contender: Contender, form: str, blocks: int) -> Builder:
    times = DEEP // blocks

    def build() -> Measure:
        stacks, nothing = contender(form, blocks, times)(), contender(form, 0, times)()
        return per_part(blocks * times, stacks, nothing)

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
        lambda form, blocks, times: tracing(form, train=True, blocks=blocks, times=times),
        (LINNET, FLAX, BY_HAND),
    ),
    _case(
        "depth-init-abstract",
        "jax.eval_shape of init",
        lambda form, blocks, times: abstract_init(form, blocks=blocks, times=times),
        (LINNET, FLAX, BY_HAND),
    ),
    _case(
        "depth-init-eager",
        "init, eagerly",
        lambda form, blocks, times: eager_init(form, blocks=blocks, times=times, clock=PROCESS),
        (LINNET, FLAX, BY_HAND),
    ),
]
