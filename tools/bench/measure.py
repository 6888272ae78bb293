"""Rounds of measurements, repeated until their ratios are stable.

A round measures every contender once, so that a machine that slows down for a while slows all of
them. The ratio of a comparison is taken within each round, and its result is the median ratio.
The first contender changes from round to round, so that none always follows the same one.

Rounds continue until each ratio is known to within 0.01, or the case's time is up. A case whose
rounds are long has only two or three.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Sequence

from .case import Case, Comparison, Measure


@dataclasses.dataclass(frozen=True)
class Effort:
    """The time that a case may take.

    Attributes:
      seconds: after this time no round begins, unless there were too few.
      rounds: the smallest and the largest number of rounds.
      few: the number that is enough after three times `seconds`.
    """

    seconds: float
    rounds: tuple[int, int]
    few: int = 3


FULL = Effort(seconds=20.0, rounds=(9, 100))
QUICK = Effort(seconds=3.0, rounds=(1, 15), few=1)


class Budget:
    """Divides the time among all cases; the rest of a case's share goes to later ones.

    Args:
      seconds: the time for all cases together. Preparations, and a case whose fewest rounds take
        longer than its share, leave less to the others.
      cases: the number of cases.
    """

    def __init__(self, seconds: float, cases: int) -> None:
        self._end = time.perf_counter() + seconds
        self._left = cases

    def next(self) -> Effort:
        """The effort for the next case."""
        share = max(self._end - time.perf_counter(), 0.0) / max(self._left, 1)
        self._left -= 1
        # The unused shares of many cases would add up to a very long share for the last case.
        return Effort(seconds=min(share / 2, FULL.seconds), rounds=(5, FULL.rounds[1]), few=2)


# The standard error of the median of n values is about 1.25 σ / √n. For a normal distribution, σ is
# the interquartile range / 1.35, which is the more meaningful figure for ratios with long tails.
_ERROR_OF_MEDIAN = 1.25 / 1.35
_PRECISION = 0.01


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The result of a comparison.

    Attributes:
      comparison: the comparison.
      value: the median over the rounds of the ratio within a round.
      error: the standard error of that median.
    """

    comparison: Comparison
    value: float
    error: float

    @property
    def met(self) -> bool | None:
        """Whether the bound is met; None without a bound."""
        bound = self.comparison.at_most
        return None if bound is None else self.value <= bound


@dataclasses.dataclass(frozen=True)
class Result:
    """A measured case.

    Attributes:
      case: the case.
      medians: the median of each contender, in the case's unit.
      ratios: the result of each comparison.
      rounds: the number of rounds.
    """

    case: Case
    medians: dict[str, float]
    ratios: list[Ratio]
    rounds: int


def run(case: Case, effort: Effort) -> Result:
    """Measures `case`."""
    measures = {name: build() for name, build in case.contenders.items()}
    if case.exact:
        return _result(case, [{name: measure() for name, measure in measures.items()}])
    if case.warm:
        for measure in measures.values():
            measure()  # fills caches, compiles, writes bytecode
    # Existing objects stay alive, so the collection before each measurement need not visit them.
    gc.collect()
    gc.freeze()
    try:
        return _result(case, _rounds(case, list(measures.items()), effort))
    finally:
        gc.unfreeze()


def _rounds(
    case: Case, measures: list[tuple[str, Measure]], effort: Effort
) -> list[dict[str, float]]:
    fewest, most = effort.rounds
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    while len(rounds) < most:
        first = len(rounds) % len(measures)
        rounds.append({name: measure() for name, measure in measures[first:] + measures[:first]})
        seconds = time.perf_counter() - start
        if len(rounds) < (fewest if seconds < 3 * effort.seconds else effort.few):
            continue
        if seconds > effort.seconds or _is_precise(_ratios(case, rounds)):
            break
    return rounds


def _result(case: Case, rounds: list[dict[str, float]]) -> Result:
    medians = {name: statistics.median(r[name] for r in rounds) for name in case.contenders}
    return Result(case, medians, _ratios(case, rounds), len(rounds))


def _ratios(case: Case, rounds: Sequence[dict[str, float]]) -> list[Ratio]:
    found = []
    for comparison in case.comparisons:
        values = [r[comparison.of] / r[comparison.to] for r in rounds]
        found.append(Ratio(comparison, statistics.median(values), _error(values)))
    return found


def _is_precise(ratios: Sequence[Ratio]) -> bool:
    return all(0 < r.error <= _PRECISION * r.value for r in ratios)


def _error(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return float(_ERROR_OF_MEDIAN * (high - low) / len(values) ** 0.5)
