"""A language model of 70 billion parameters on 16 x 16 devices, before any of them exists.

The cases work on shapes alone. They measure the processor time before a large model is compiled,
and count the bytes that each device will hold. See `models/llama.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.case import FLAX, LINNET, THREAD, Builder, Case, Comparison, Measure, Unit, timed
from bench.fresh import fresh
from bench.models import llama

LIMIT = 5.0  # seconds


def training_step() -> Callable[[], object]:
    """A function that makes the abstract model and optimizer, their layouts and the step."""
    return lambda: llama.lowered_step(llama.abstract_state()) and None


def _abstract_nnx(form: str) -> Builder:
    return lambda: timed(lambda: llama.abstract_nnx(form) and None, clock=THREAD)


def _number(value: Callable[[], float]) -> Builder:
    def build() -> Measure:
        return value

    return build


CASES = [
    Case(
        "scale-step",
        "70B, 80 layers: abstract model, layouts and lowered training step, cold",
        {LINNET: fresh(__name__, "training_step"), f"{LIMIT:g} s": _number(lambda: LIMIT)},
        [Comparison(LINNET, f"{LIMIT:g} s", at_most=1.0)],
        warm=False,
    ),
    Case(
        "scale-bytes",
        "70B: bytes of parameters and moments on a device, as their layouts say",
        {
            LINNET: _number(lambda: llama.bytes_of_a_device(llama.abstract_state())),
            "by hand": _number(llama.bytes_by_hand),
        },
        [Comparison(LINNET, "by hand", at_most=1.01), Comparison("by hand", LINNET, at_most=1.01)],
        unit=Unit.BYTES,
        exact=True,
    ),
    Case(
        "scale-nnx",
        "70B, a module for each layer: nnx.eval_shape on an abstract mesh",
        {form: _abstract_nnx(form) for form in (LINNET, FLAX)},
        [Comparison(LINNET, FLAX, at_most=0.15)],
        warm=False,
    ),
]
