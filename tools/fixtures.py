"""Fixtures that the tests of several packages use; a conftest.py takes those that it wants."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

_states: dict[int, tuple[np.random.Generator, Any]] = {}


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Most of the time goes into compiling programs that run once, on a few numbers."""
    with _most_optimizations(disabled=True):
        yield


@pytest.fixture(autouse=True)
def same_draws(request: pytest.FixtureRequest) -> None:
    """Rewinds the module's generators to where its import left them.

    A test then draws the same numbers alone, in the suite, and whichever worker it runs on.
    """
    for value in vars(request.module).values():
        if isinstance(value, np.random.Generator):
            _, state = _states.setdefault(id(value), (value, value.bit_generator.state))
            value.bit_generator.state = state


@pytest.fixture(scope="module", autouse=True)
def programs_of_its_own() -> Iterator[None]:
    """For tests that compare bits: no program that others have compiled quickly.

    jax keeps what it compiled, whatever the level of optimization; the levels round differently.
    """
    jax.clear_caches()  # type: ignore[no-untyped-call]
    with _most_optimizations(disabled=False):
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """64-bit types, for the time of a test."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    yield
    jax.config.update("jax_enable_x64", False)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _most_optimizations(*, disabled: bool) -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")  # type: ignore[no-untyped-call]
    jax.config.update("jax_disable_most_optimizations", disabled)  # type: ignore[no-untyped-call]
    yield
    jax.config.update("jax_disable_most_optimizations", before)  # type: ignore[no-untyped-call]
