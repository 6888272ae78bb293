"""Floating-point operations and bytes accessed of the compiled program, as XLA counts them."""

from __future__ import annotations

from bench.case import BY_HAND, FLAX, LINNET, Builder, Case, Comparison, Measure, Unit
from bench.models import program

_COUNTS = {"flops": Unit.FLOPS, "bytes accessed": Unit.BYTES}


def _count(form: str, kind: str, count: str) -> Builder:
    def build() -> Measure:
        analysis = program.compiled(form, kind).cost_analysis()
        # Some versions of jax return a list with an entry for each computation.
        entry = analysis[0] if isinstance(analysis, list) else analysis
        return lambda: float(entry[count])

    return build


CASES = [
    Case(
        f"{count.split()[0]}-{kind}",
        f"{count} of the compiled program: {kind}",
        {form: _count(form, kind, count) for form in (LINNET, FLAX, BY_HAND)},
        [Comparison(LINNET, FLAX, at_most=1.0), Comparison(LINNET, BY_HAND)],
        unit=unit,
        exact=True,
    )
    for kind in program.KINDS
    for count, unit in _COUNTS.items()
]
