"""A process of a group: it joins the group, and then runs tests or a program.

    python member.py HOST:PORT COUNT INDEX pytest ARGUMENTS...
    python member.py HOST:PORT COUNT INDEX PROGRAM ARGUMENTS...

Tests must run the same collective operations in all processes: if a process skips one, the others
wait. `groups` ends all processes once one has failed.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path

import jax


def main(coordinator: str, count: str, index: str, program: str, *arguments: str) -> int:
    """Runs a program as process `index` of `count`; without a group if `count` is 1."""
    if int(count) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
        jax.distributed.initialize(coordinator, int(count), int(index))
    if program == "pytest":
        import pytest

        with tempfile.TemporaryDirectory() as own:
            return int(pytest.main([f"--basetemp={own}", *arguments]))
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(__file__).parents[1]))  # to import this package
    runpy.run_path(program, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
