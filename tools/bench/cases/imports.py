"""Importing after jax: in a new interpreter each time, with bytecode written beforehand.

The clock is processor time, as for tracing: only the first read of the files waits for the disk.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile

from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure

_PROGRAM = """
import {after}, time
start = time.process_time()
import {module}
print(time.process_time() - start)
"""


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bench-bytecode-")


def _environment() -> dict[str, str]:
    # Where no bytecode is written (an environment variable, a folder that is read-only), compiling
    # the sources would be most of what is measured. So it is written to a folder of its own.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": _bytecode().name, "KERAS_BACKEND": "jax"}


def importing(module: str, after: str = "jax") -> Builder:
    """Measures the seconds that importing `module` takes once `after` is imported."""

    def build() -> Measure:
        # -P: the working directory must not hide installed packages.
        command = [sys.executable, "-P", "-c", _PROGRAM.format(module=module, after=after)]
        environment = _environment()

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
