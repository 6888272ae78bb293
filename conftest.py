"""What holds for the tests of every package."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Raises an error for a name that changes with each process: workers could not share tests."""
    if " at 0x" in item.nodeid:
        raise pytest.UsageError(
            f"{item.nodeid} has an address in its name. Give the parameter a name with `ids`."
        )
