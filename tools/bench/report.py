"""The table of results, and the same results as JSON.

The JSON contains the environment but not the date, so two files differ only in their figures.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from .case import Unit
from .measure import Ratio, Result

_SCALES = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    Unit.FLOPS: ((1e9, "GFLOP"), (1e6, "MFLOP"), (1.0, "FLOP")),
    Unit.BYTES: ((1e9, "GB"), (1e6, "MB"), (1.0, "B")),
}

# Two columns wider than the longest name of a case and of a comparison.
_CASE, _COMPARISON = 34, 38

HEADER = (
    f"{'case':<{_CASE}}{'ratio of':<{_COMPARISON}}{'value':>7}{'±':>8}{'bound':>8}  {'met':<5}"
    f"{'medians':<24}rounds"
)


def lines(result: Result) -> list[str]:
    """The lines of the table for one case: one for each comparison."""
    return [_line(result, ratio) for ratio in result.ratios]


def _line(result: Result, ratio: Ratio) -> str:
    comparison = ratio.comparison
    bound = "" if comparison.at_most is None else f"≤ {comparison.at_most:.2f}"
    met = {None: "", True: "yes", False: "NO"}[ratio.met]
    of, to = (
        _quantity(result.medians[n], result.case.unit) for n in (comparison.of, comparison.to)
    )
    error = "" if result.case.exact else f"{ratio.error:.3f}"
    return (
        f"{result.case.name:<{_CASE}}{comparison.of + ' / ' + comparison.to:<{_COMPARISON}}"
        f"{ratio.value:>7.3f}{error:>8}{bound:>8}  {met:<5}{of + ' / ' + to:<24}{result.rounds}"
    )


def _quantity(value: float, unit: Unit) -> str:
    scales = _SCALES[unit]
    scale, name = next((s for s in scales if value >= s[0]), scales[-1])
    return f"{value / scale:.3g} {name}"


def summary(results: Iterable[Result]) -> str:
    """One sentence on the bounds."""
    bounded = [r for result in results for r in result.ratios if r.met is not None]
    missed = sum(not r.met for r in bounded)
    return f"{len(bounded) - missed} of {len(bounded)} bounds met."


def as_json(results: Iterable[Result]) -> dict[str, Any]:
    """All results and the environment, for JSON."""
    return {"environment": environment(), "cases": [_case(result) for result in results]}


def _case(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "about": result.case.about,
        "unit": result.case.unit.value,
        "rounds": result.rounds,
        "medians": result.medians,
        "ratios": [
            {
                "of": r.comparison.of,
                "to": r.comparison.to,
                "value": r.value,
                "error": r.error,
                "at_most": r.comparison.at_most,
                "met": r.met,
            }
            for r in result.ratios
        ],
    }


def environment() -> dict[str, Any]:
    """The versions and the machine."""
    names = {d.metadata["Name"] for d in metadata.distributions()}
    shown = {"jax", "jaxlib", "flax", "numpy"}
    shown |= {name for name in names if name == "linnet" or name.startswith("linnet-")}
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in sorted(shown & names)},
        "backend": jax.default_backend(),
        "system": platform.system(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
    }


def _cpu() -> str:
    # platform.processor() is empty on most Linux systems.
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
