"""Every name that a program can import from `flax.linen` and its parts, and whether Linnet has it.

The names that Flax's modules show are compared, except for modules, names imported from Python's
standard library, and type variables. What is left out has a reason in differences.toml; so does
what is here but not in Flax.
"""

import importlib
import inspect
import re
from pathlib import Path

import flax.linen
import flax.typing
import jax
import pytest

import differences
import linnet.linen
import linnet.module_core.typing
from parity.borrowed import is_borrowed

PARTS = sorted(
    {name for name in dir(flax.linen) if inspect.ismodule(getattr(flax.linen, name))}
    - {"annotations"}
    | {"partitioning"}
)


def names_of(module):
    """What a program could want from a module of Flax."""
    parts = set(PARTS) if module is flax.linen else set()
    return {
        name
        for name in dir(module)
        if not name.startswith("_") and (name in parts or not is_borrowed(name, vars(module)[name]))
    }


@pytest.mark.parametrize("part", ["", *PARTS, "typing"])
def test_names(part):
    if part == "typing":
        ours, theirs = linnet.module_core.typing, flax.typing
    else:
        ours, theirs = linnet.linen, flax.linen
        if part:
            __import__(f"linnet.linen.{part}")
            if part == "partitioning":
                __import__(f"flax.linen.{part}")
            ours, theirs = getattr(ours, part), getattr(theirs, part)
    wanted, there = names_of(theirs), set(ours.__all__)
    where = part if part == "typing" else f"linen.{part}".rstrip(".")
    omitted, own = (differences.names(kind, where) for kind in ("omitted", "own"))
    assert wanted - there - omitted == set(), "missing, without a reason"
    assert there - set(dir(theirs)) - own == set(), "not in Flax, without a reason"
    assert omitted & there == set(), "listed as left out, but present"
    assert omitted <= wanted, "listed as left out, but not in Flax"
    assert own <= there, "listed as our own, but missing"


@pytest.mark.parametrize("part", PARTS)
def test_a_name_means_what_it_means_in_flax(part):
    """Types of arrays, functions and modules: the same kind of thing behind the same name."""
    __import__(f"linnet.linen.{part}")
    if part == "partitioning":
        __import__(f"flax.linen.{part}")
    ours, theirs = getattr(linnet.linen, part), getattr(flax.linen, part)
    for name in set(ours.__all__) & set(dir(theirs)):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert inspect.ismodule(a) == inspect.ismodule(b), name
        assert inspect.isfunction(a) <= callable(b), name
        if inspect.isclass(b) and b.__module__.startswith("flax.") and inspect.isclass(a):
            assert a.__name__ == b.__name__, name
        if isinstance(b, type) and b is jax.Array:
            assert a is b, name


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "from_linen.md"


def resolve(path):
    """What `path` names, whether or not its modules have been imported."""
    first, *rest = path.split(".")
    value, name = importlib.import_module(first), first
    for part in rest:
        name = f"{name}.{part}"
        if not hasattr(value, part):
            importlib.import_module(name)
        value = getattr(value, part)
    return value


def test_the_guide_names_what_there_is(recwarn):
    """Both columns of the page's table of names resolve."""
    rows = [
        row.split("|")[1:3] for row in GUIDE.read_text("utf-8").splitlines() if row[:7] == "| `flax"
    ]
    assert len(rows) > 15
    for row in rows:
        theirs, ours = (re.findall(r"`((?:flax|linnet|jax)\.[\w.]+)`", cell) for cell in row)
        assert theirs, row
        for name in [*theirs, *ours]:
            resolve(name)
        if len(ours) == len(theirs) > 1:
            for a, b in zip(theirs, ours, strict=True):
                assert a.split(".")[-1] == b.split(".")[-1], row
