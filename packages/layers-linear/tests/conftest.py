"""Settings of this package's tests."""

from collections.abc import Iterator

import jax
import pytest

pytest.register_assert_rewrite("contracts", "nnx_contracts")


@pytest.fixture(scope="package", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Most of the time goes into compiling programs that run once, on a few numbers."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def x64() -> Iterator[None]:
    """64-bit types, for the time of a test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
