"""Tables of models as text: values, layouts, plain characters and rich."""

import dataclasses
import sys
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet import struct
from linnet.module_core import linen as nn
from linnet.module_core.tables import drawing
from linnet.module_core.tables.cells import lines_of, represent, represent_inputs

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
INIT = jax.nn.initializers


class Dense(nn.Module):
    features: int = 4

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", INIT.normal(), (x.shape[-1], self.features))
        bias = self.param("bias", INIT.zeros, (self.features,))
        return x @ kernel + bias


class Norm(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        if train and not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
        return x - mean.value


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return Norm()(Dense(5)(x), train=train)


class Net(nn.Module):
    """A module with a parameter of its own and nested modules, one of them called three times."""

    def setup(self):
        self.block = Block()
        self.head = Dense(5)
        self.scale = self.param("scale", INIT.ones, (5,))

    def __call__(self, x, train=False):
        x = self.head(self.head(self.block(x, train)))
        self.sow("intermediates", "hidden", x)
        return {"y": self.again(x) * self.scale, "train": train}

    def again(self, x):
        return self.head(x)


# Values as text.

Pair = namedtuple("Pair", "left right")


@struct.dataclass
class State:
    x: jax.Array
    kind: str = struct.field(pytree_node=False, default="k")


@dataclasses.dataclass
class Options:
    a: int = 3


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (X, ["float32[2,3]"]),
        (np.zeros(3, np.int8), ["int8[3]"]),
        (np.float32(1), ["float32[]"]),
        (KEY, ["key<fry>[]"]),
        (jax.random.PRNGKey(0), ["uint32[2]"]),
        (jnp.ones(2, jnp.bfloat16), ["bfloat16[2]"]),
        (None, ["None"]),
        (True, ["True"]),
        (3, ["3"]),
        (2.5, ["2.5"]),
        ("text", ["'text'"]),
        (print, ["print"]),
        (jnp.float32, ["float32"]),
        (np.dtype("int8"), ["int8"]),
        (Options(), ["Options(a=3)"]),
        (np.array(["a"]), ["array(['a'], dtype='<U1')"]),
        ("x" * 100, ["'" + "x" * 36 + "..."]),
        (Dense(), ["Dense"]),
        ((), ["()"]),
        ({}, ["{}"]),
        ([X, [X, {}]], ["- float32[2,3]", "- - float32[2,3]", "  - {}"]),
        (Pair(X, 1), ["left: float32[2,3]", "right: 1"]),
        (State(X), ["x: float32[2,3]", "kind: 'k'"]),
        ({"a": {"b": X, 3: 4}, "c": [1]}, ["a:", "  b: float32[2,3]", "  3: 4", "c:", "- 1"]),
    ],
)
def test_values_as_lines(value, lines):
    assert lines_of(represent(value)) == lines


def test_arguments_as_lines():
    assert lines_of(represent_inputs((X,), {})) == ["float32[2,3]"]
    assert lines_of(represent_inputs((), {})) == ["()"]
    assert lines_of(represent_inputs((), {"x": X})) == ["x: float32[2,3]"]
    assert lines_of(represent_inputs((X, None), {"train": True, "d": {"a": 1}})) == [
        "- float32[2,3]",
        "- None",
        "- train: True",
        "- d:",
        "    a: 1",
    ]


# Drawing.


@pytest.fixture
def no_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)


PLAIN = """\
Net Summary

path           module  inputs          outputs          batch_stats       params
-------------  ------  --------------  ---------------  ----------------  --------------------
               Net     - float32[2,3]  y: float32[2,5]                    scale: float32[5]
                       - train: False  train: False                       5 (20 B)

block          Block   - float32[2,3]  float32[2,5]
                       - False

block/Dense_0  Dense   float32[2,3]    float32[2,5]                       bias: float32[5]
                                                                          kernel: float32[3,5]
                                                                          20 (80 B)

block/Norm_0   Norm    - float32[2,5]  float32[2,5]     mean: float32[5]
                       - train: False                   5 (20 B)

head           Dense   float32[2,5]    float32[2,5]                       bias: float32[5]
                                                                          kernel: float32[5,5]
                                                                          30 (120 B)
-------------  ------  --------------  ---------------  ----------------  --------------------
                                       Total            5 (20 B)          55 (220 B)

Total Parameters: 60 (240 B)
"""

RICH = """\
                    Dense Summary
┏━━━━━━━━━━┳━━━━━━━━━━━━━┳━━━━━━━┳━━━━━━━━━━━━━━━━━━┓
┃ path     ┃ inputs      ┃       ┃                  ┃
┃   module ┃ -> outputs  ┃ flops ┃ params           ┃
┡━━━━━━━━━━╇━━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━━━━━━━━━┩
│   Dense  │ f32[2,3]    │    56 │ bias: f32[4]     │
│          │ -> f32[2,4] │       │ kernel: f32[3,4] │
│          │             │       │ 16 (64 B)        │
├──────────┼─────────────┼───────┼──────────────────┤
│          │             │ Total │ 16 (64 B)        │
└──────────┴─────────────┴───────┴──────────────────┘
             Total Parameters: 16 (64 B)
"""


def test_a_plain_table(no_rich, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert Net().tabulate(KEY, X, train=False) == PLAIN


def test_a_table_of_rich():
    text = Dense().tabulate(KEY, X, console_kwargs={"width": 54}, compute_flops=True)
    assert "".join(line.rstrip() + "\n" for line in text.splitlines()) == RICH


class Wide(nn.Module):
    @nn.compact
    def __call__(self, x, some_option):
        for _ in range(2):
            x = Net(name=f"a_rather_long_name_{_}")(x)["y"]
        return {"logits": x, "everything": [x, {"deep": (x, some_option)}]}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("rich", [True, False])
def test_tables_fit(width, rich, monkeypatch):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("COLUMNS", str(width))
    text = Wide().tabulate(KEY, jnp.ones((1, 128, 3)), "value", mutable=True)
    assert max(map(len, text.splitlines())) <= max(width, 5 * (6 + 3) + 1)
    assert "Total Parameters: 1,410 (5.6 KB)" in text
    assert "[1,128,5]" in text or width < 80
    assert ("float32[1,128,5]" in text) == (width == 200)


LINES = st.lists(st.text("ab /_,[]:-1A", min_size=1, max_size=12), max_size=3)


@given(st.lists(LINES, min_size=1, max_size=4), LINES, st.integers(1, 60))
def test_layouts_hold_the_same_letters(cells, footer, width):
    def letters(columns):
        cells = [["".join("".join(cell).split()) for cell in c.cells] for c in columns]
        return cells, ["".join("".join(c.title + c.footer).split()) for c in columns]

    first = drawing.Column(["first_one"], cells, footer)
    second = drawing.Column(["second"], [["x: float32[2,3]"]] * len(cells), ["Total"], right=True)
    layouts = [[first, second], [first.over(second)]]
    layouts += [drawing._shortened(layout) for layout in layouts]
    fitted = drawing.fit(layouts[0], layouts[1], lambda n: width)
    assert letters(fitted) in [letters(layout) for layout in layouts]
    assert sum(c.width() for c in fitted) <= max(width, 6)


def test_lines_are_broken_where_it_hurts_least():
    def wrap(line, width, pattern):
        return drawing.wrap(line, width, pattern)

    assert wrap("kernel: f32[3,4]", 12, drawing._WORDS) == ["kernel:", "  f32[3,4]"]
    assert wrap("a/block/Dense_0", 9, drawing._WORDS) == ["a/block/", "Dense_0"]
    assert wrap("1,234 (4.9 KB)", 8, drawing._WORDS) == ["1,234", "(4.9 KB)"]
    assert wrap("- f32[128,28,28]", 12, drawing._PARTS) == ["- f32[128,", "  28,28]"]
    assert wrap("LayerNorm_0", 8, drawing._PARTS) == ["Layer", "Norm_0"]
    assert wrap("1,234,567", 6, drawing._PARTS) == ["1,234,567"]
    assert wrap("abcdef", 4, drawing._ANYWHERE) == ["abcd", "ef"]


@given(
    st.lists(st.text("ab /_,[]:-1A", min_size=1), min_size=1),
    st.integers(1, 30),
    st.sampled_from(["_NOWHERE", "_WORDS", "_PARTS", "_ANYWHERE"]),
)
def test_broken_lines_hold_the_same_letters(words, width, pattern):
    line = "".join(words)
    parts = drawing.wrap(line, width, getattr(drawing, pattern))
    assert "".join("".join(parts).split()) == "".join(line.split())


def test_arguments_for_rich():
    text = Dense().tabulate(
        KEY,
        X,
        console_kwargs={"width": 90, "force_terminal": True},
        table_kwargs={"title": "My model", "box": None},
        column_kwargs={"justify": "right"},
    )
    assert "My model" in text
    assert "\x1b[" in text
    assert "┃" not in text


@pytest.mark.parametrize("name", ["console_kwargs", "table_kwargs", "column_kwargs"])
def test_arguments_for_rich_without_rich(no_rich, name):
    with pytest.raises(ImportError, match=r"linnet-module-core\[rich\]"):
        nn.tabulate(Dense(), KEY, **{name: {"width": 3}})
    assert "Dense Summary" in nn.tabulate(Dense(), KEY, **{name: {}})(X)
