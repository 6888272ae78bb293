"""The results of a program in both environments, and whether they are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from programs_of import Program

Arrays = Mapping[str, np.ndarray]
Tests = Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """One program's results.

    Attributes:
      program: the program.
      version: the versions of its library and of jax.
      numbers: the number of arrays that were compared.
      tests: the number of the library's tests that passed on Linnet.
      seconds: the time from the start of the command to the end of the first step, on Flax and on
        Linnet.
      distance: the largest difference between two numbers, relative to the largest in their array.
      details: a line for each difference.
    """

    program: Program
    version: str
    numbers: int
    tests: int
    seconds: tuple[float, float]
    distance: float
    details: Sequence[str]

    @property
    def equal(self) -> bool:
        """Whether everything is equal, as far as the program's metadata requires."""
        return not self.details

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if not self.equal:
            return f"{len(self.details)} difference{'s' * (len(self.details) != 1)}"
        return "bit for bit" if self.distance == 0 else f"within {self.distance:.0e}"


def failed(program: Program, error: Exception) -> Outcome:
    """The outcome of a program that could not be run in both environments."""
    return Outcome(program, "", 0, 0, (0.0, 0.0), 0.0, [f"{type(error).__name__}: {error}"])


def compare(
    program: Program,
    version: str,
    results: Mapping[str, Arrays],
    tests: Mapping[str, Tests],
) -> Outcome:
    """Compares the arrays of a program and the outcomes of tests on Flax and on Linnet."""
    flax, linnet = (dict(results[name]) for name in ("flax", "linnet"))
    seconds = float(flax.pop("seconds")), float(linnet.pop("seconds"))
    details, distances = [], [0.0]
    for name in sorted({*flax, *linnet}):
        if name not in flax or name not in linnet:
            details.append(f"{name} is shown only on {'Flax' if name in flax else 'Linnet'}")
            continue
        distances.append(distance(flax[name], linnet[name]))
        if not distances[-1] <= program.tolerance:
            details.append(f"{name} differs by {distances[-1]:.1e}")
    for name in sorted({*tests["flax"], *tests["linnet"]}):
        ended = tests["flax"].get(name, "missing"), tests["linnet"].get(name, "missing")
        if ended[0] != ended[1]:
            details.append(f"test {name}: {ended[0]} on Flax, {ended[1]} on Linnet")
    passed = Counter(tests["linnet"].values())["passed"]
    return Outcome(program, version, len(distances) - 1, passed, seconds, max(distances), details)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The distance between two arrays, relative to the largest number of the first.

    >>> distance(np.array([1.0, np.nan]), np.array([1.0, np.nan]))
    0.0
    >>> distance(np.array([2.0, 4.0]), np.array([2.0, 5.0]))
    0.25
    >>> distance(np.array(0.0), np.array(-0.0)), distance(np.array([1]), np.array([1, 1]))
    (inf, inf)
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.inf
    if one.tobytes() == other.tobytes() or not one.size:
        return 0.0
    if one.dtype.kind not in "fc" or not np.array_equal(np.isnan(one), np.isnan(other)):
        return np.inf
    difference = np.nanmax(abs(one - other)) / np.nanmax(abs(one))
    return float(difference) if difference > 0 else np.inf
