"""Settings that several files of the comparison with Flax share."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """Most of the time goes into compiling programs that run once, on a few numbers.

    jax keeps what it compiled whatever the level, and the levels round differently: without empty
    caches on both sides, one library would meet programs of the one level and Flax of the other.
    """
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
