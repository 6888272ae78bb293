"""The package as a whole: light to import, its examples run, its names are where they should be."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import linnet.struct

MODULES = [
    "linnet.struct",
    *(f"linnet.struct.{module.name}" for module in pkgutil.iter_modules(linnet.struct.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_examples_of_the_readme_run():
    readme = Path(__file__).parents[1] / "README.md"
    result = doctest.testfile(str(readme), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_brings_the_containers_alone():
    code = (
        "import sys, jax; before = set(sys.modules); import linnet.struct; "
        "print(*sorted(set(sys.modules) - before))"
    )
    brought = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert brought == [
        "linnet",
        "linnet.struct",
        "linnet.struct._dataclass",
        "linnet.struct._errors",
        "linnet.struct._registration",
        "linnet.struct.field_order",
        "linnet.struct.frozen_dict",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "from linnet import struct; struct.serialization.to_state_dict([1])",
        "from linnet.struct import serialization; serialization.to_state_dict([1])",
        "import linnet.struct.serialization as s; s.to_state_dict([1])",
        "import linnet.struct; linnet.struct.traverse_util.flatten_dict({})",
        "from linnet.struct.traverse_util import flatten_dict",
        "from linnet.struct import *; serialization.to_state_dict([1])",
    ],
)
def test_the_submodules_are_reached_in_every_way(statement):
    for name in ("serialization", "traverse_util"):
        vars(linnet.struct).pop(name, None)
    exec(statement, {})


def test_names():
    assert {"serialization", "traverse_util", "FrozenDict"} <= set(dir(linnet.struct))
    for module in (linnet.struct, linnet.struct.serialization, linnet.struct.traverse_util):
        assert all(hasattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match=r"'linnet.struct' has no attribute 'nothing'"):
        linnet.struct.nothing
