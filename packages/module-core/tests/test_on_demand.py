"""Packages whose names are loaded when they are first asked for."""

import importlib
import sys

import pytest

from linnet.struct import FrozenDict

SOURCE = """
from linnet.module_core.on_demand import names_on_demand as _names_on_demand

here = 1
__getattr__, __dir__ = _names_on_demand(
    __name__,
    packages=["linnet.struct"],
    homes={"pi": "math:pi", "inside": ".part.deep"},
)
"""


def test_a_package_that_gathers_others(tmp_path, monkeypatch):
    (tmp_path / "gathered/part").mkdir(parents=True)
    (tmp_path / "gathered/__init__.py").write_text(SOURCE)
    (tmp_path / "gathered/part/__init__.py").touch()
    (tmp_path / "gathered/part/deep.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    gathered = importlib.import_module("gathered")
    assert not {"gathered.part", "FrozenDict"} & {*sys.modules, *vars(gathered)}
    assert gathered.FrozenDict is FrozenDict
    assert gathered.FrozenDict is vars(gathered)["FrozenDict"]
    assert round(gathered.pi, 2) == 3.14
    assert gathered.inside is sys.modules["gathered.part.deep"]
    assert gathered.part is sys.modules["gathered.part"]
    assert {"here", "pi", "inside", "part", "FrozenDict", "freeze"} <= set(dir(gathered))
    assert gathered.__all__ == dir(gathered)
    for name in ("nothing", "_private", "traverse_util"):  # the last is a module of that package
        with pytest.raises(AttributeError, match=f"module 'gathered' has no attribute '{name}'"):
            getattr(gathered, name)


def test_a_module_that_is_not_a_package(tmp_path, monkeypatch):
    (tmp_path / "single.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    single = importlib.import_module("single")
    assert single.FrozenDict is FrozenDict
    assert {"here", "pi", "FrozenDict", "freeze"} <= set(dir(single))
    with pytest.raises(AttributeError, match="module 'single' has no attribute 'part'"):
        _ = single.part
