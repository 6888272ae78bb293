"""Importing, after jax: in a fresh interpreter each time, with bytecode written beforehand."""

from __future__ import annotations

import subprocess
import sys

from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure

_PROGRAM = """
import jax, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def _importing(module: str) -> Builder:
    def build() -> Measure:
        # -P: the working directory must not hide what is installed.
        command = [sys.executable, "-P", "-c", _PROGRAM.format(module=module)]

        def measure() -> float:
            finished = subprocess.run(command, check=True, capture_output=True, text=True)
            return float(finished.stdout)

        return measure

    return build


def _case(name: str, leaf: str, at_most: float) -> Case:
    return Case(
        name,
        f"import linnet.{leaf}, after import jax",
        {LINNET: _importing(f"linnet.{leaf}"), FLAX: _importing(f"flax.{leaf}")},
        [Comparison(LINNET, FLAX, at_most=at_most)],
    )


CASES = [_case("import-struct", "struct", 0.1), _case("import-linen", "linen", 0.25)]
