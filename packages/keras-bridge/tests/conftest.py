"""Settings of this package's tests."""

from collections.abc import Iterator

import jax
import keras
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves a warning of Keras's own: in numpy 2, copying an array asks for more than it has."""
    mark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    for item in items:
        if "keras-bridge" in item.path.parts:
            item.add_marker(mark)


@pytest.fixture(scope="package", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Most of the time goes into compiling programs that run once, on a few numbers."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def same_seed() -> None:
    """Every test begins with the same random state and the same names."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
