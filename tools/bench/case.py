"""What a case is: contenders that do the same work, and which of them are compared.

A contender is built once (its model, its parameters, whatever need not be measured) and then
measured once a round. A measurement is a number in the case's unit; `timed` makes one of a
function.
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

# Kinds of seconds. Those that the processor spends on a thread or process, unlike those that pass,
# hardly depend on what else it does; but they leave out what is waited for, an accelerator say.
Clock = Callable[[], float]
WALL: Clock = time.perf_counter
THREAD: Clock = time.thread_time
PROCESS: Clock = time.process_time

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
      warm: each contender is measured once without counting, which fills caches; False where
        nothing is kept from one measurement to the next.
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
    """A measurement of the seconds that `run` takes until its arrays are there.

    Garbage is collected beforehand and not in the meantime; the result is released afterwards.

    Args:
      run: does the work once; its result may hold arrays.
      clock: what kind of seconds.
      before: runs before each measurement, not counted.
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
    """A measurement of one of `count` equal parts.

    Args:
      count: how many parts there are in `whole`.
      whole: measures all of them.
      nothing: measures the same work with no parts: what is paid once, and no matter how many.
    """
    return lambda: (whole() - nothing()) / count
