"""Settings of this package's tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keras's own warning, in its versions before numpy's: an array's copy, asked for in numpy 2."""
    mark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    for item in items:
        if "keras-bridge" in item.path.parts:
            item.add_marker(mark)
