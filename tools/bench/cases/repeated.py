"""Repeated blocks: a training step of 24 transformer blocks, against Flax's loop over them.

The run time is measured as processor time, too: a loop keeps as many threads busy as unrolled
layers do, and this figure does not depend on the machine's load. Memory is the temporary memory of
the compiled step.
"""

from __future__ import annotations

from typing import Any

import jax

from bench.case import FLAX, LINNET, PROCESS, Builder, Case, Comparison, Measure, Unit, timed
from bench.models import repeated
from bench.models.repeated import NNX

_REMAT = {"default": None, "nothing kept": "nothing", "everything kept": False}
_DEEP, _SHALLOW = 96, 6


def _running(form: str) -> Builder:
    def build() -> Measure:
        step = repeated.step(form)
        compiled = jax.jit(step.run).lower(*step.arguments).compile()
        return timed(lambda: compiled(*step.arguments), clock=PROCESS)

    return build


def _compiling(form: str, layers: int = repeated.LAYERS) -> Builder:
    def build() -> Measure:
        step = repeated.step(form, layers)

        def compile_anew() -> object:
            # A new function, which jax has not traced before.
            jax.jit(lambda *args: step.run(*args)).lower(*step.arguments).compile()
            return None

        return timed(compile_anew, clock=PROCESS)

    return build


def _memory(form: str, remat: Any = None) -> Builder:
    def build() -> Measure:
        step = repeated.step(form, remat=remat)
        memory: Any = jax.jit(step.run).lower(*step.arguments).compile().memory_analysis()
        return lambda: float(memory.temp_size_in_bytes)

    return build


CASES = [
    Case(
        "repeat-step",
        "a training step of 24 repeated blocks",
        {form: _running(form) for form in (LINNET, NNX, FLAX)},
        [Comparison(form, FLAX, at_most=1.05) for form in (LINNET, NNX)],
    ),
    Case(
        "repeat-compile",
        "trace, lower and compile it",
        {form: _compiling(form) for form in (LINNET, NNX, FLAX)},
        [Comparison(form, FLAX, at_most=0.5) for form in (LINNET, NNX)],
    ),
    Case(
        "repeat-depth",
        "the same with 96 blocks and with 6",
        {f"{layers} blocks": _compiling(LINNET, layers) for layers in (_DEEP, _SHALLOW)},
        [Comparison(f"{_DEEP} blocks", f"{_SHALLOW} blocks", at_most=1.2)],
    ),
    Case(
        "repeat-memory",
        "temporary memory of a step",
        {name: _memory(LINNET, remat) for name, remat in _REMAT.items()} | {FLAX: _memory(FLAX)},
        [
            Comparison("nothing kept", "everything kept", at_most=0.5),
            Comparison("default", "everything kept", at_most=0.5),
            Comparison("default", FLAX, at_most=0.5),
        ],
        unit=Unit.BYTES,
        exact=True,
    ),
]
