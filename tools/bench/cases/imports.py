"""Importing after jax: in a new interpreter each time, with bytecode written beforehand.

The clock is processor time, as for tracing: only the first read of the files waits for the disk.
"""

from __future__ import annotations

import subprocess
import sys

from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure
from bench.fresh import with_bytecode

_PROGRAM = """
import {after}, time
start = time.process_time()
import {module}
print(time.process_time() - start)
"""


def importing(module: str, after: str = "jax") -> Builder:
    """Measures the seconds that importing `module` takes once `after` is imported."""

    def build() -> Measure:
        # -P: the working directory must not hide installed packages.
        command = [sys.executable, "-P", "-c", _PROGRAM.format(module=module, after=after)]
        environment = {**with_bytecode(), "KERAS_BACKEND": "jax"}

        def measure() -> float:
            finished = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            return float(finished.stdout)

        return measure

    return build


def _case(name: str, leaf: str, at_most: float) -> Case:
    return Case(
        name,
        f"import linnet.{leaf}, after import jax",
        {LINNET: importing(f"linnet.{leaf}"), FLAX: importing(f"flax.{leaf}")},
        [Comparison(LINNET, FLAX, at_most=at_most)],
    )


CASES = [
    _case("import-struct", "struct", 0.1),
    _case("import-linen", "linen", 0.25),
    _case("import-nnx", "nnx", 0.12),
]
