"""What holds for the tests of every package."""

import os

import pytest

STARTED_BY_A_TEST = "PYTEST_CURRENT_TEST" in os.environ
"""Whether a test of another process has started this one."""


def pytest_configure(config: pytest.Config) -> None:
    """Raises an error if a process that a test has started would share its temporary folders.

    At its end pytest removes old folders, and fails where another process does the same.
    """
    if STARTED_BY_A_TEST and config.getoption("basetemp") is None:
        raise pytest.UsageError(
            "This pytest was started by a test and has no folder of its own. Start it with "
            "--basetemp=FOLDER."
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the tests that empty jax's caches first, before others have filled them.

    Otherwise each of their modules throws away what all tests before it have traced and compiled.
    """
    items.sort(key=lambda item: "programs_of_its_own" not in getattr(item, "fixturenames", ()))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Raises an error for a name that changes with each process: workers could not share tests."""
    if " at 0x" in item.nodeid:
        raise pytest.UsageError(
            f"{item.nodeid} has an address in its name. Give the parameter a name with `ids`."
        )
