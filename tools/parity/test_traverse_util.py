"""linnet.struct.traverse_util against Flax: flat dicts, maps and traversals are the same."""

import collections
import warnings
from typing import Any

import flax.core
import flax.struct
import flax.traverse_util
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linnet.struct
from linnet.struct import traverse_util

MODULES = (flax.traverse_util, traverse_util)

trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
).filter(lambda tree: isinstance(tree, dict))


def text(x):
    return repr(x).replace("box.<locals>.", "")


@settings(deadline=None)
@given(trees, st.booleans(), st.sampled_from([None, "/", "."]), st.integers(0, 3))
def test_flat_dicts(tree, keep, sep, depth):
    for is_leaf in (None, lambda path, x: len(path) == depth):
        theirs, ours = (m.flatten_dict(tree, keep, is_leaf, sep) for m in MODULES)
        assert text(ours) == text(theirs)  # with the order
        if not is_leaf:
            assert text(traverse_util.unflatten_dict(ours, sep)) == text(
                flax.traverse_util.unflatten_dict(theirs, sep)
            )
    frozen = (flax.core.freeze(tree), linnet.struct.freeze(tree))
    flat = [m.flatten_dict(f, keep, None, sep) for m, f in zip(MODULES, frozen, strict=True)]
    assert text(flat[0]) == text(flat[1])


@settings(deadline=None)
@given(trees)
def test_path_aware_map_and_model_param_traversal(tree):
    results = []
    for m, freeze in zip(MODULES, (flax.core.freeze, linnet.struct.freeze), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            chosen = m.ModelParamTraversal(lambda path, value: "a" in path)
        seen = []
        results.append(
            [
                m.path_aware_map(lambda path, x: (path, x), tree),
                m.path_aware_map(lambda path, x: (path, x), freeze(tree)),
                list(chosen.iterate(tree)),
                chosen.update(lambda x, seen=seen: seen.append(x) or 0, tree),
                chosen.update(lambda x: 0, freeze(tree)),
                seen,
            ]
        )
    assert text(results[0]) == text(results[1])


Point = collections.namedtuple("Point", "x y")


def box(struct):
    @struct.dataclass
    class Box:
        foo: Any
        bar: Any = 7

    return Box


BOXES = (box(flax.struct), box(linnet.struct))
PLACES = [
    lambda T: T,
    lambda T: T["foo"]["bar"][1],
    lambda T: T["foo"]["bar"].each(),
    lambda T: T["foo"]["bar"].each().filter(lambda x: x > 1),
    lambda T: T["k"].foo["z"],
    lambda T: T["k"].bar,
    lambda T: T["t"][0],
    lambda T: T["t"][1].y,
    lambda T: T["t"][1][0],
    lambda T: T.tree(),
    lambda T: T.each(),
    lambda T: T["foo"].compose(T["bar"].each()),
    lambda T: T["foo"]["bar"].merge(T[0], T[2]),
    lambda T: T.merge(T["k"].bar, T["k"].bar),
    lambda T: T.merge(),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore:.*Traversal:DeprecationWarning")
def test_traversals(place):
    results = []
    for m, Box in zip(MODULES, BOXES, strict=True):
        data = {"foo": {"bar": [1, 2, 3]}, "k": Box({"z": 5}), "t": (1, Point(2, 3))}
        traversal = place(m.t_identity)
        found = list(traversal.iterate(data))
        results.append(
            [
                found,
                traversal.update(lambda x: ("new", x), data),
                traversal.set(list(range(len(found))), data),
                data,
            ]
        )
    assert text(results[0]) == text(results[1])


@pytest.mark.filterwarnings("ignore:.*Traversal:DeprecationWarning")
def test_set_raises_the_same_errors():
    for m in MODULES:
        for wrong in ([7], [7, 8, 9]):
            with pytest.raises(ValueError, match="value"):
                m.t_identity.each().set(wrong, [1, 2])
