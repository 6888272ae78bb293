"""What a case is: contenders that do the same work, and which of them are compared.

A contender is built once (its model, its parameters, whatever need not be measured) and then
measured once a round. A measurement is a number in the case's unit; `timed` and `interpreting` make
one of a function.
"""

from __future__ import annotations

import dataclasses
import enum
import gc
import time
from collections.abc import Callable, Mapping, Sequence

import jax

Measure = Callable[[], float]
Builder = Callable[[], Measure]

LINNET = "linnet"
FLAX = "flax"
BY_HAND = "by hand"


class Unit(enum.Enum):
    """What a case's numbers count."""

    SECONDS = "s"
    FLOPS = "FLOP"
    BYTES = "B"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The ratio of two contenders.

    Attributes:
      of, to: their names; the ratio is `of / to`, less than 1 where `of` costs less.
      at_most: the bound that the ratio is to keep, or None if it is only shown.
    """

    of: str
    to: str
    at_most: float | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One measured thing.

    Attributes:
      name: what `--only` selects it by.
      about: one line that says what is measured.
      contenders: a builder for each, in the order of measurement.
      comparisons: which ratios are shown, each a line of the table.
      unit: of the contenders' numbers.
      exact: the numbers are counted, not measured: one round says all.
    """

    name: str
    about: str
    contenders: Mapping[str, Builder]
    comparisons: Sequence[Comparison]
    unit: Unit = Unit.SECONDS
    exact: bool = False


def timed(run: Callable[[], object]) -> Measure:
    """A measurement of the seconds that `run` takes until its arrays are there.

    Args:
      run: does the work once; its result may hold arrays.
    """
    return lambda: _clocked(
        lambda: jax.block_until_ready(run()),  # type: ignore[no-untyped-call]
        time.perf_counter,
    )


def interpreting(run: Callable[[], object], *, before: Callable[[], None] | None = None) -> Measure:
    """A measurement of the processor's seconds that this thread spends in `run`.

    For work that is done by Python alone, as tracing is: what else the machine is busy with is
    not counted.

    Args:
      run: does the work once.
      before: runs before each measurement, not counted.
    """

    def measure() -> float:
        if before is not None:
            before()
        return _clocked(run, time.thread_time)

    return measure


def _clocked(run: Callable[[], object], clock: Callable[[], float]) -> float:
    # Garbage is collected beforehand and not in the meantime; the result is released afterwards.
    gc.collect()
    gc.disable()
    try:
        start = clock()
        result = run()
        seconds = clock() - start
    finally:
        gc.enable()
    del result
    return seconds


def per(count: int, measure: Measure) -> Measure:
    """`measure` divided by `count`: the cost of one of `count` equal parts."""
    return lambda: measure() / count
