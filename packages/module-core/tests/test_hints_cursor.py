"""Every hint of cursors, followed to the letter."""

from typing import Any, NamedTuple

import pytest

import hints
from hints import Remedy
from linnet import struct
from linnet.module_core.cursor import cursor

from .linen_programs import hints_of


@struct.dataclass
class Point:
    x: Any = 1
    y: Any = 2


class Pair(NamedTuple):
    a: int = 1


TREE = {"a": {"kernel": 1, "bias": 2}, "b": [1, 2], "p": Point(), "n": 3}


def edited(edit):
    place = cursor(TREE)
    edit(place)
    return place.build()


def assigned(target, key, value):
    setattr(target, key, value)


CURSOR = [
    Remedy(
        "Use `find_all`, or a condition that holds for one.",
        lambda: cursor(TREE).find(lambda path, x: path.startswith("a/")),
        lambda: [
            list(cursor(TREE).find_all(lambda path, x: path.startswith("a/"))),
            cursor(TREE).find(lambda path, x: path == "a/bias"),
        ],
    ),
    Remedy(
        "Set the items one by one, or the whole list or tuple with `set`.",
        lambda: edited(lambda c: c["b"].__setitem__(slice(0, 2), [3, 4])),
        lambda: [
            edited(lambda c: [c["b"].__setitem__(i, i) for i in range(2)]),
            cursor(TREE)["b"].set([3, 4]),
        ],
    ),
    Remedy(
        "Write `.{}` for an attribute.",
        lambda: cursor(TREE)["p"]["x"],
        lambda: cursor(TREE)["p"].x,
        filled=("x",),
    ),
    Remedy(
        "Write `.{} = ...`.",
        lambda: edited(lambda c: c["p"].__setitem__("x", 3)),
        lambda: edited(lambda c: assigned(c["p"], "x", 3)),
        filled=("x",),
    ),
    Remedy(
        "Cursors follow mappings, lists, tuples, and dataclasses. Set the whole object.",
        lambda: edited(lambda c: assigned(c["n"], "real", 3)),
        lambda: edited(lambda c: c.__setitem__("n", 4)),
    ),
    Remedy(
        "Write `[{}] = ...`.",
        lambda: edited(lambda c: assigned(c["a"], "bias", 3)),
        lambda: edited(lambda c: c["a"].__setitem__("bias", 3)),
        filled=("'bias'",),
    ),
    Remedy(
        "Write `[0] = ...` for the first.",
        lambda: edited(lambda c: c["b"].__setitem__("first", 3)),
        lambda: edited(lambda c: c["b"].__setitem__(0, 3)),
    ),
]

ASKS = ['It gets paths such as "encoder/layers/0". Does the tree have the path that you look for?']


@pytest.mark.parametrize("remedy", CURSOR, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("cursor")
    assert hints.untried(found, CURSOR, ASKS) == []
    assert hints.unknown(found, [*(remedy.words for remedy in CURSOR), *ASKS]) == []
