"""Functions that IPython and pytest call when they load `linnet.flax` as an extension or plugin."""

from __future__ import annotations

from typing import Any

from linnet.flax.running.hook import install, uninstall


def load_ipython_extension(ipython: object) -> None:
    """`%load_ext linnet.flax`: from here on, `import flax` gives `linnet.flax`."""
    install()


def unload_ipython_extension(ipython: object) -> None:
    """`%unload_ext linnet.flax`: `import flax` gives the real Flax again."""
    uninstall()


def pytest_addoption(parser: Any) -> None:
    """`pytest -p linnet.flax`: called before any conftest.py or other plugin is loaded."""
    parser.addoption(
        "--linnet-report",
        action="store_true",
        help="show at the end which names of Flax were used, and where time went",
    )
    install()


def pytest_configure(config: Any) -> None:
    """Begins the report, if it was asked for."""
    if config.getoption("linnet_report"):
        install(report=True)
