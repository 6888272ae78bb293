"""Fixtures that the tests of several packages use; a conftest.py imports those that it needs."""

import contextlib
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

# With all that pytest and jax keep, Python's collector takes a tenth of the tests' time and finds
# almost nothing, so it runs less often here. Conftests import this file before tests are collected.
gc.set_threshold(50_000, 20, 100)

_states: dict[int, tuple[np.random.Generator, Any]] = {}


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Turns most optimizations off: programs run once, on a few numbers, so compiling dominates."""
    with _most_optimizations(disabled=True):
        yield


@pytest.fixture(autouse=True)
def same_draws(request: pytest.FixtureRequest) -> None:
    """Rewinds the module's generators to where its import left them.

    A test then draws the same numbers alone, in the suite, and on any worker.
    """
    for value in vars(request.module).values():
        if isinstance(value, np.random.Generator):
            _, state = _states.setdefault(id(value), (value, value.bit_generator.state))
            value.bit_generator.state = state


@pytest.fixture(scope="module", autouse=True)
def programs_of_its_own() -> Iterator[None]:
    """For tests that compare bits: drops the programs that other tests compiled."""
    with fully_compiled():
        yield


@pytest.fixture
def only_new_garbage() -> Iterator[None]:
    """For tests that call `gc.collect`: it visits only the objects that the test makes.

    With all that jax keeps from earlier tests, a collection takes most of a second.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def x64() -> Iterator[None]:
    """64-bit types, for the duration of a test."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    yield
    jax.config.update("jax_enable_x64", False)  # type: ignore[no-untyped-call]


def pass_on_devices(*files: Path, count: int = 8, options: tuple[str, ...] = ()) -> str:
    """Runs the tests in files in one process that has several CPU devices; fails if any test fails.

    The number of devices is fixed when a process starts. Starting one takes longer than most tests,
    so all files of a package that need it share it.

    Args:
      files: named so that pytest doesn't collect them, since they fail on one device.
      count: the number of devices.
      options: additional options of pytest.

    Returns:
      What pytest printed, with a line for each test.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", *options]
    with tempfile.TemporaryDirectory() as own:
        done = subprocess.run(
            [*command, f"--basetemp={own}", *map(str, files)],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": str(count), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


_EACH_PROGRAM = """
import sys, traceback
failed = False
for program in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "linnet"]:
        del sys.modules[name]
    try:
        exec(program, {"__name__": "__main__"})
    except BaseException:
        failed = True
        print(f"this program failed:\\n{program}\\n{traceback.format_exc()}", file=sys.stderr)
sys.exit(failed)
"""


def run_afresh(*programs: str, **environment: str) -> None:
    """Runs programs in one new process; each begins without any linnet module loaded.

    This is for tests that need a new process, such as a test of what an import loads. Starting one
    with jax takes seconds, so all programs of a package share it; other libraries that one of them
    loads remain loaded for the next.

    Args:
      programs: the source of each.
      environment: additional variables to set.
    """
    done = subprocess.run(
        [sys.executable, "-c", _EACH_PROGRAM, *programs],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def fully_compiled() -> Iterator[None]:
    """Inside, programs are compiled with all optimizations, as users compile them.

    jax's cache ignores the level of optimization, but programs of different levels round
    differently.
    """
    jax.clear_caches()  # type: ignore[no-untyped-call]
    with _most_optimizations(disabled=False):
        yield


@contextlib.contextmanager
def _most_optimizations(*, disabled: bool) -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")  # type: ignore[no-untyped-call]
    jax.config.update("jax_disable_most_optimizations", disabled)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)  # type: ignore[no-untyped-call]
