"""Fixtures that several files share."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """Compiles quickly: most of the tests' time is compilation of programs that run once.

    jax's caches ignore the optimization level, and the levels round differently. So the caches are
    emptied before and after; otherwise Linnet and Flax could run programs of different levels.
    """
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
