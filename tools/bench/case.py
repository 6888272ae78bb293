"""A case: contenders that do the same work, and the comparisons between them.

A contender is built once (its model, its parameters, and all else that is not measured) and then
measured once per round. A measurement returns a number in the case's unit; `timed` makes a
measurement from a function.
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

# Clocks. Processor time of a thread or process, unlike elapsed time, hardly depends on the load of
# the machine, but leaves out waiting, for example for an accelerator.
Clock = Callable[[], float]
WALL: Clock = time.perf_counter
THREAD: Clock = time.thread_time
PROCESS: Clock = time.process_time

LINNET = "linnet"
FLAX = "flax"
BY_HAND = "by hand"


class Unit(enum.Enum):
    """The unit of a case's numbers."""

    SECONDS = "s"
    FLOPS = "FLOP"
    BYTES = "B"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The ratio of two contenders.

    Attributes:
      of, to: their names; the ratio is `of / to`, less than 1 if `of` costs less.
      at_most: the bound on the ratio, or None if the ratio is only shown.
    """

    of: str
    to: str
    at_most: float | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
      name: the name by which `--only` selects it.
      about: a line that says what is measured.
      contenders: a builder for each, in the order of measurement.
      comparisons: the ratios to show, each a line of the table.
      unit: the unit of the contenders' numbers.
      exact: the numbers are counted, not measured, so one round is enough.
      warm: whether to measure each contender once beforehand, to fill caches; False if nothing is
        kept from one measurement to the next.
    """

    name: str
    about: str
    contenders: Mapping[str, Builder]
    comparisons: Sequence[Comparison]
    unit: Unit = Unit.SECONDS
    exact: bool = False
    warm: bool = True


def timed(
    run: Callable[[], object],
    *,
    clock: Clock = WALL,
    before: Callable[[], None] | None = None,
) -> Measure:
    """Measures the seconds that `run` takes until its arrays are computed.

    Garbage is collected beforehand but not during the run; the result is released afterwards.

    Args:
      run: does the work once; its result may hold arrays.
      clock: the clock to read.
      before: runs before each measurement, and is not counted.
    """

    def measure() -> float:
        if before is not None:
            before()
        gc.collect()
        gc.disable()
        try:
            start = clock()
            result = jax.block_until_ready(run())  # type: ignore[no-untyped-call]
            seconds = clock() - start
        finally:
            gc.enable()
        del result
        return seconds

    return measure


def per_part(count: int, whole: Measure, nothing: Measure) -> Measure:
    """Measures one of `count` equal parts.

    Args:
      count: the number of parts in `whole`.
      whole: measures all of them.
      nothing: measures the same work without parts, which is the cost that is paid once.
    """
    return lambda: (whole() - nothing()) / count
