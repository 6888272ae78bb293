"""Cursors make the same trees as Flax's, visit the same parts, and have the same repr."""

import collections
import dataclasses

import flax
import flax.cursor
import pytest

import linnet.cursor
import linnet.struct
from linnet.flax.core import freeze

Pair = collections.namedtuple("Pair", "x y")


@dataclasses.dataclass
class Record:
    a: object
    b: object = None


def node(flax_):
    @flax_.struct.dataclass
    class Node:
        a: object
        b: object = None

    return Node


NODES = {flax: node(flax), linnet: node(linnet)}


def tree(library):
    frozen = flax.core.freeze if library is flax else freeze
    return {
        "a": 1,
        "b": [1, 2, (3, {"z": 5})],
        "pair": Pair(1, [2]),
        "record": Record(1, [2]),
        "node": NODES[library](1, {"k": 2}),
        "frozen": frozen({"u": {"v": 1}}),
        1: {"a/b": 2},
    }


def changed(c, *_):
    c["b"][2][1]["z"] = 7
    c["pair"].x += 8
    c["node"].b["k"] = [1]
    c["node"].a -= 3
    c["frozen"]["w"] = 3
    c["new"] = 5
    c["b"][0] = c["b"][1] * 3
    return c


def updated(c, visited):
    def update(path, x):
        visited.append(path)
        if path == "record":
            return "X"
        return x + 1 if isinstance(x, int) else x

    return c.apply_update(update)


def found(c, visited):
    for part in c.find_all(lambda path, x: visited.append(path) or isinstance(x, (int, dict))):
        visited.append(part._path)
        part.set([part.build()])
    return c.find(lambda path, x: path == "frozen/u")


def of_operators(c, _):
    return [
        c["a"] + 1,
        2 - c["a"],
        c["b"][1] ** 3,
        -c["a"],
        divmod(7, c["b"][1]),
        c["a"] == 1,
        c["b"] == c["b"],
        [item.build() for item in reversed(c["b"])],
        len(c["b"]),
        str(c["pair"]),
        c["b"][2][0].set(9)["b"],
        c["pair"][1][0].set(4)["pair"],
        c.set("whole"),
    ]


@pytest.mark.parametrize("program", [changed, updated, found, of_operators])
def test_programs(program):
    def run(library):
        visited = []
        result = program(library.cursor.cursor(tree(library)), visited)
        text = repr(result)
        built = repr(getattr(result, "build", lambda: None)())
        return text, built, visited

    assert run(linnet) == run(flax)
