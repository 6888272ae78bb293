"""Which changes to a package's public interface are noticed."""

import dataclasses
import inspect
import shutil
from pkgutil import resolve_name

import griffe
import pytest

import workspace
from releasing import differences
from releasing.surface import surface_of, tree_in

# A package `toy` and one that builds on it. `Base` plays the role of linen's Module.
INIT = """
from typing import TYPE_CHECKING
from .parts import CONSTANT as CONSTANT
from .parts import Base as Base
from .parts import Layer as Layer
from .parts import Cell as Cell
from .parts import Node as Node
from .parts import Pair as Pair
from .parts import Stored as Stored
from .parts import WrongShape as WrongShape
from .parts import call as call
from .parts import hidden
from . import lazy as lazy
if TYPE_CHECKING:
    from . import later as later
"""
PARTS = """
import dataclasses
from typing import Any, ClassVar, NamedTuple, dataclass_transform

CONSTANT = "params"
EXPRESSION = len("params")

@dataclass_transform(field_specifiers=(dataclasses.field,))
class Marked: ...

class Base(Marked):
    name: str | None = dataclasses.field(default=None, kw_only=True)
    def apply(self, variables, *inputs, mutable=False): ...
    def _internal(self, x): ...

class Layer(Base):
    features: int
    use_bias: bool = True
    axis: int = -1
    kind: ClassVar[str] = "layer"
    _cache: Any = dataclasses.field(default=None, init=False)
    def __call__(self, x, *, mask=None): ...

@dataclass_transform()
def node(cls): return cls

@node
class Node:
    left: int
    right: int = 0

@dataclasses.dataclass
class Stored:
    values: list[int] = dataclasses.field(default_factory=list)

class Pair(NamedTuple):
    mean: float
    variance: float

class WrongShape(ValueError): ...

class Plain:
    def __init__(self, size): self.size = size
    @property
    def area(self): return self.size

class _Cell:
    def __init__(self, width=0): ...

class Cell(_Cell): ...

def call(x, /, scale=1.0, *, axis=-1, **options): ...

def hidden(x): ...
"""
LATER = """
__all__ = ["convert"]
from .parts import hidden as convert
def unlisted(): ...
"""
LAZY = """
from os import path
def read(name): ...
def _helper(): ...
"""
USER = """
from linnet import toy
def build():
    from linnet.toy.internal import needed
"""
FILES = {
    "toy/__init__.py": INIT,
    "toy/parts.py": PARTS,
    "toy/later.py": LATER,
    "toy/lazy.py": LAZY,
    "toy/internal.py": "def needed(x): ...\ndef unneeded(): ...\n",
    "user/__init__.py": USER,
}


def package(folder, replaced=("", "")):
    """The API of `toy` after the only occurrence of one string is replaced with another."""
    folder.mkdir()
    before, after = replaced
    assert before == "" or sum(t.count(before) for t in FILES.values()) == 1, before
    for name, text in FILES.items():
        path = folder / "linnet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(before, after) if before else text)
    return surface_of(tree_in(folder), ("linnet.toy",))


BREAKS = [
    # Importable names.
    ("from .parts import call as call\n", "", "call is gone"),
    ("    from . import later as later\n", "    pass", "later is gone"),
    ('__all__ = ["convert"]', "__all__ = []", "later.convert is gone"),
    ("def read(name)", "def reads(name)", "lazy.read is gone"),
    ("def needed(x)", "def wanted(x)", "internal.needed is gone"),
    ("def needed(x)", "def needed(x, y)", "internal.needed(y) is new and required"),
    ("def hidden(x)", "def hidden(y)", "later.convert(x) is gone; later.convert(y) is new and"),
    ("def read(name)", "class read", "lazy.read was a function, is a class"),
    # Arguments.
    ("x, /, scale=1.0", "x, /, scale=2.0", "call(scale) default was 1.0, is 2.0"),
    ("x, /, scale=1.0", "x, /, scale", "call(scale) was optional, is required"),
    ("x, /, scale=1.0", "x, /, offset=0.0, scale=1.0", "call(scale) has a different position"),
    ("x, /, scale=1.0, *", "x, /, *, scale=1.0", "call(scale) was positional or keyword, is key"),
    ("axis=-1, **options", "axis=-1, power, **options", "call(power) is new and required"),
    ("x, /, scale=1.0, *, axis=-1, **options", "x, /, scale=1.0, *, axis=-1", "call(options) is g"),
    ("def call(", "async def call(", "call must be awaited"),
    # Generated constructors.
    ("    axis: int = -1\n", "", "Layer(axis) is gone"),
    (
        "features: int\n",
        "features: int\n    bias: int = 0\n",
        "Layer(axis) has a different position",
    ),
    (
        "use_bias: bool = True\n    axis: int = -1",
        "axis: int = -1\n    use_bias: bool = True",
        "Layer(axis) has a different position; Layer(use_bias) has a different position",
    ),
    ("axis: int = -1\n", "axis: int = 0\n", "Layer(axis) default was -1, is 0"),
    ("    axis: int = -1\n", "    axis: int\n", "Layer(axis) was optional, is required"),
    (
        "axis: int = -1\n",
        "axis: int = dataclasses.field(default=-1, kw_only=True)\n",
        "Layer(axis) was positional or keyword, is keyword-only",
    ),
    (
        "kw_only=True)\n    def apply",
        "kw_only=True)\n    size: int = 0\n    def apply",
        "Layer(axis) h",
    ),
    (
        "left: int",
        "left: int\n    middle: int",
        "Node(middle) is new and required; Node(right) has",
    ),
    ("default_factory=list", "default_factory=dict", "Stored(values) default was list"),
    ("mean: float\n", "", "Pair(mean) is gone"),
    ("self, width=0", "self, width", "Cell(width) was optional, is required"),
    ("mean: float\n", "mean: float\n    count: int\n", "Pair had 2 fields, has 3: unpacking fails"),
    # Classes.
    ("WrongShape(ValueError)", "WrongShape(Exception)", "WrongShape is no longer a ValueError"),
    ("class Layer(Base)", "class Layer(Marked)", "Layer is no longer a Base"),
    ("def apply(", "def applied(", "Base.apply is gone; Layer.apply is gone"),
    ("mutable=False", "mutable=True", "Base.apply(mutable) default was False, is True"),
    ("def __call__(self, x, *, mask", "def __call__(self, x, *, where", "Layer.__call__(mask) is"),
    ('kind: ClassVar[str] = "layer"', 'kind: ClassVar[str] = "dense"', "Layer.kind was 'layer'"),
    # Values.
    ('CONSTANT = "params"', 'CONSTANT = "parameters"', "CONSTANT was 'params', is 'parameters'"),
]

COMPATIBLE = [
    ("def _internal(self, x)", "def _internal(self)", []),
    ("def unneeded()", "def needless()", []),
    ("def unlisted()", "def listed()", []),
    ("def _helper()", "def _help()", []),
    ("from os import path", "from os import sep", []),
    ('EXPRESSION = len("params")', 'EXPRESSION = len("parameters")', []),
    ("default=None, init=False", "default=1, init=False", []),
    ("class Layer(Base):", "class Between(Base): ...\n\nclass Layer(Between):", []),
    ("return self.size", "return self.size**2", []),
    ("from .parts import hidden\n", "from .parts import hidden as hidden\n", ["hidden"]),
    ("x, /, scale=1.0", "x, /, scale=1.0, power=1", ["call(power)"]),
    ("*, mask=None", "*, mask=None, where=None", ["Layer.__call__(where)"]),
    ("axis: int = -1\n", "axis: int = -1\n    size: int = 0\n", ["Layer(size)"]),
    ("right: int = 0\n", "right: int = 0\n    depth: int = 0\n", ["Node(depth)"]),
    ("def read(name): ...\n", "def read(name): ...\ndef write(name): ...\n", ["lazy.write"]),
    (
        "    def _internal",
        "    def init(self): ...\n    def _internal",
        ["Base.init", "Layer.init"],
    ),
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return package(tmp_path_factory.mktemp("toy") / "old")


def short(found):
    return [f"{d.name} {d.what}".removeprefix("linnet.toy.") for d in found]


@pytest.mark.parametrize(("before", "after", "message"), BREAKS)
def test_what_breaks_is_named(toy, tmp_path, before, after, message):
    new = package(tmp_path / "new", (before, after))
    assert "; ".join(short(differences.breaks(toy, new))).startswith(message)


@pytest.mark.parametrize(("before", "after", "new"), COMPATIBLE)
def test_what_does_not_break_is_let_through(toy, tmp_path, before, after, new):
    changed = package(tmp_path / "new", (before, after))
    assert differences.breaks(toy, changed) == []
    assert short(differences.additions(toy, changed)) == [f"{name} is new" for name in new]


def test_what_is_offered(toy):
    assert {name.removeprefix("linnet.toy.") for name in toy.offered} == {
        *("CONSTANT", "Base", "Cell", "Layer", "Node", "Pair", "Stored", "WrongShape", "call"),
        *("later", "later.convert", "lazy", "lazy.read", "internal.needed"),
    }


def test_a_difference_says_where_it_is(toy, tmp_path):
    new = package(tmp_path / "new", ("axis: int = -1\n", "axis: int = 0\n"))
    (found,) = differences.breaks(toy, new)
    line = FILES["toy/parts.py"].splitlines().index("    axis: int = -1") + 1
    assert found.place == f"linnet/toy/parts.py:{line}"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """All packages of this repository, as if they were installed in one folder."""
    folder = tmp_path_factory.mktemp("here")
    for p in workspace.packages():
        shutil.copytree(
            p.source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tree_in(folder)


def test_constructors_are_read_as_python_makes_them(here):
    """The signature read for each dataclass, linen module and named tuple is the real one."""
    compared = 0
    for p in workspace.packages():
        if p.short_name == "keras-bridge":  # cannot be imported without Keras
            continue
        for name, found in surface_of(here, p.import_names).offered.items():
            if not isinstance(found, griffe.Class) or "__init__" not in found.members:
                continue
            actual = resolve_name(name)
            if issubclass(actual, tuple):
                expected = inspect.signature(actual.__new__)
            elif dataclasses.is_dataclass(actual):
                expected = inspect.signature(vars(actual)["__init__"])
            else:
                continue  # the base of such classes
            read = [(q.name, q.kind, q.required) for q in found.parameters][1:]
            made = [
                (q.name, griffe.ParameterKind(q.kind.description), q.default is q.empty)
                for q in expected.parameters.values()
            ][1:]
            assert read == made, f"{name}: {expected}"
            compared += 1
    assert compared > 60


def test_everything_here_can_be_read_and_equals_itself(here):
    again = tree_in(here.folder)
    for p in workspace.packages():
        offered = surface_of(here, p.import_names)
        assert offered.offered, p.name
        assert None not in offered.offered.values(), p.name
        assert differences.breaks(offered, surface_of(again, p.import_names)) == []
