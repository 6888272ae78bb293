"""Running the model: compiled, and operation by operation.

Compiled programs are built beforehand. In the eager cases, jax has already compiled each operation
for these shapes, so they measure the interpreter, on one example of 16 tokens.
"""

from __future__ import annotations

import jax

from bench.case import BY_HAND, FLAX, LINNET, Builder, Case, Comparison, Measure, timed
from bench.models import mlp, program

_FORMS = (LINNET, FLAX, BY_HAND)
_COMPARISONS = (Comparison(LINNET, FLAX), Comparison(LINNET, BY_HAND))


def _compiled(form: str, kind: str) -> Builder:
    def build() -> Measure:
        run, arguments = program.compiled(form, kind), program.arguments()
        return timed(lambda: run(*arguments))

    return build


def _eager(form: str, *, train: bool) -> Builder:
    def build() -> Measure:
        model = mlp.model(form)
        apply = model.train if train else model.evaluate
        arguments = mlp.parameters(), mlp.inputs(1, 16), jax.random.key(0)
        return timed(lambda: apply(*arguments))

    return build


CASES = [
    Case(
        f"run-{kind}",
        f"run the compiled program: {kind}",
        {form: _compiled(form, kind) for form in _FORMS},
        _COMPARISONS,
    )
    for kind in program.KINDS
] + [
    Case(
        f"eager-{kind}",
        f"apply, eagerly, warm: {kind}",
        {form: _eager(form, train=kind == "train") for form in _FORMS},
        _COMPARISONS,
    )
    for kind in ("eval", "train")
]
