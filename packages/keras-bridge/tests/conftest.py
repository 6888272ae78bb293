"""Settings of this package's tests."""

import keras
import pytest

from fixtures import quick_compilation as quick_compilation
from fixtures import same_draws as same_draws


def pytest_collection_modifyitems(items):
    """Ignores a warning about copies of arrays, from Keras versions older than NumPy 2."""
    mark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    for item in items:
        if "keras-bridge" in item.path.parts:
            item.add_marker(mark)


@pytest.fixture(autouse=True)
def same_seed():
    """Every test begins with the same random state and the same names."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
