"""Flat dicts, and traversals."""

import collections
import copy
import dataclasses
import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet import struct
from linnet.struct import FrozenDict
from linnet.struct import traverse_util as tu
from linnet.struct.traverse_util import empty_node, flatten_dict, t_identity, unflatten_dict

trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
).filter(lambda tree: isinstance(tree, dict))

NESTED = {"a": 1, "b": {"c": 2, "d": {}}}


# Flat dicts.


@given(trees)
def test_flat_and_nested_are_inverse(tree):
    flat = flatten_dict(tree, keep_empty_nodes=True)
    assert unflatten_dict(flat) == tree
    assert unflatten_dict(flatten_dict(tree, keep_empty_nodes=True, sep="/"), sep="/") == tree
    assert flatten_dict(FrozenDict(tree), keep_empty_nodes=True) == flat
    for path, leaf in flat.items():
        node = tree
        for key in path:
            node = node[key]
        assert node == ({} if leaf is empty_node else leaf)


def test_empty_dicts_are_kept_on_demand():
    assert flatten_dict(NESTED) == {("a",): 1, ("b", "c"): 2}
    kept = flatten_dict(NESTED, keep_empty_nodes=True)
    assert kept == {("a",): 1, ("b", "c"): 2, ("b", "d"): empty_node}
    assert flatten_dict({}, keep_empty_nodes=True) == {} == unflatten_dict({})


def test_is_leaf_sees_paths_and_dicts():
    seen = []
    deep = {"a": {"b": {"c": 1}, "e": {}}}
    assert flatten_dict(deep, is_leaf=lambda path, x: seen.append((path, x))) == {
        ("a", "b", "c"): 1
    }
    assert seen == [
        ((), deep),
        (("a",), deep["a"]),
        (("a", "b"), {"c": 1}),
        (("a", "e"), {}),
    ]
    assert flatten_dict(deep, is_leaf=lambda path, _: len(path) == 2) == {
        ("a", "b"): {"c": 1},
        ("a", "e"): {},
    }
    whole = flatten_dict(deep, is_leaf=lambda *_: True)
    assert whole == {(): deep}
    assert unflatten_dict(whole) == deep


def test_lists_are_leaves_and_other_keys_are_kept():
    assert flatten_dict({1: {2: [{"a": 3}]}}) == {(1, 2): [{"a": 3}]}


def test_a_separator_joins():
    assert flatten_dict(NESTED, sep=".") == {"a": 1, "b.c": 2}
    assert unflatten_dict({"a": 1, "b.c": 2}, sep=".") == {"a": 1, "b": {"c": 2}}


def test_the_leaves_are_not_entered():
    leaf = {"q": 1}
    nested = unflatten_dict({("a",): leaf, ("b", "c"): 2})
    assert nested == {"a": {"q": 1}, "b": {"c": 2}}
    assert nested["a"] is leaf


def test_errors_of_flatten():
    with pytest.raises(TypeError, match="flatten_dict: expected a dict or a FrozenDict, got list"):
        flatten_dict([1])
    with pytest.raises(TypeError, match=r"the key 1 of .* is not a string"):
        flatten_dict({"a": {1: 2}}, sep="/")
    with pytest.raises(ValueError, match="two values have the path 'a/b'"):
        flatten_dict({"a/b": 1, "a": {"b": 2}}, sep="/")


@pytest.mark.parametrize(
    "flat",
    [
        {("a",): 1, ("a", "b"): 2},
        {("a", "b"): 1, ("a",): 2},
        {("a",): {"q": 1}, ("a", "b"): 2},
        {("a",): empty_node, ("a", "b", "c"): 2},
        {("a",): 1, (): 2},
        {(): {}, ("a",): 1},
    ],
)
def test_unflatten_raises_an_error_for_a_leaf_that_is_a_dict_as_well(flat):
    before = copy.deepcopy(flat)
    with pytest.raises(
        ValueError, match=("starts with another path, or another path starts with it")
    ):
        unflatten_dict(flat)
    assert flat == before


def test_unflatten_raises_an_error_for_paths_of_the_other_form():
    with pytest.raises(TypeError, match="each key must be a tuple, as there is no sep; got 'ab'"):
        unflatten_dict({"ab": 1})
    with pytest.raises(TypeError, match=r"each key must be a string, as sep='/'; got \('a',\)"):
        unflatten_dict({("a",): 1}, sep="/")
    with pytest.raises(TypeError, match="expected a dict or a FrozenDict, got int"):
        unflatten_dict(3)


def test_path_aware_map():
    tree = {"a": 1, "b": FrozenDict({"c": [2], "d": {}})}
    mapped = tu.path_aware_map(lambda path, x: (path, x), tree)
    assert mapped == {"a": (("a",), 1), "b": {"c": (("b", "c"), [2]), "d": {}}}
    assert (type(mapped), type(mapped["b"])) == (dict, dict)
    assert tu.path_aware_map(lambda path, x: x, {}) == {}
    with pytest.raises(TypeError, match="path_aware_map: expected a dict"):
        tu.path_aware_map(lambda path, x: x, 3)


def test_a_flat_dict_in_place_of_a_nested_one():
    """A test such as `"head" in path` would silently find nothing."""
    flat = flatten_dict({"head": {"kernel": 1}, "scale": 2})
    kernels = tu.ModelParamTraversal(lambda path, x: path.endswith("/kernel"))
    named = r"the dict is flat; the path of its key \('head', 'kernel'\)"
    with pytest.warns(UserWarning, match=f"path_aware_map: {named}") as caught:
        mapped = tu.path_aware_map(lambda path, x: "head" in path, flat)
    assert mapped == {("head", "kernel"): False, ("scale",): False}
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=f"ModelParamTraversal: {named}"):
        assert list(kernels.iterate(flat)) == []
    assert tu.path_aware_map(lambda path, x: "head" in path, unflatten_dict(flat)) == {
        "head": {"kernel": True},
        "scale": False,
    }
    assert tu.path_aware_map(lambda path, x: path, {("a",): 1}) == {("a",): (("a",),)}


def test_the_empty_node_is_a_pytree_without_leaves():
    import jax

    assert jax.tree.leaves(empty_node) == []
    assert jax.tree.map(lambda x: x, empty_node) == empty_node


# Parameters.

PARAMS = {"d": {"kernel": 1, "bias": 2}, "a": {"kernel": 5}, "e": {}, "l": [7]}


def test_model_param_traversal():
    seen = []
    kernels = tu.ModelParamTraversal(lambda path, value: seen.append((path, value)) or "k" in path)
    assert list(kernels.iterate(PARAMS)) == [5, 1]
    assert seen == [("/a/kernel", 5), ("/d/bias", 2), ("/d/kernel", 1), ("/l", [7])]
    updated = kernels.update(lambda x: 10 * x, PARAMS)
    assert updated == {"d": {"kernel": 10, "bias": 2}, "a": {"kernel": 50}, "e": {}, "l": [7]}
    assert list(updated) == ["a", "d", "e", "l"]
    assert type(kernels.update(lambda x: x, FrozenDict(PARAMS))) is FrozenDict
    assert kernels.update(lambda x: x, {}) == {}
    assert list(tu.ModelParamTraversal(lambda p, _: p == "/1/2").iterate({1: {2: 3}})) == [3]


def test_errors_of_model_param_traversal():
    kernels = tu.ModelParamTraversal(lambda path, _: True)
    for use in (lambda: list(kernels.iterate([1])), lambda: kernels.update(len, [1])):
        with pytest.raises(ValueError, match="expected a nested dict, got list"):
            use()


# Traversals.

Point = collections.namedtuple("Point", "x y")


@struct.dataclass
class Box:
    foo: Any
    bar: Any = 7


@dataclasses.dataclass
class Plain:
    foo: Any


class Thing:
    def __init__(self, foo):
        self.foo = foo

    def __eq__(self, other):
        return self.foo == other.foo

    __hash__ = None


T = t_identity
odd = T.each().filter(lambda x: x % 2)


@pytest.mark.parametrize(
    ("traversal", "data", "found", "tenfold"),
    [
        (T, 3, [3], 30),
        (T["a"], {"a": 1, "b": 2}, [1], {"a": 10, "b": 2}),
        (T["a"], FrozenDict(a=1, b=2), [1], FrozenDict(a=10, b=2)),
        (T["a"], collections.OrderedDict(a=1), [1], collections.OrderedDict(a=10)),
        (T[1], [1, 2, 3], [2], [1, 20, 3]),
        (T[-1], [1, 2, 3], [3], [1, 2, 30]),
        (T[1], (1, 2, 3), [2], (1, 20, 3)),
        (T[-1], (1, 2, 3), [3], (1, 2, 30)),
        (T[0], Point(1, 2), [1], Point(10, 2)),
        (T.x, Point(1, 2), [1], Point(10, 2)),
        (T.foo, Box(1), [1], Box(10)),
        (T.foo, Plain(1), [1], Plain(10)),
        (T.foo, Thing(1), [1], Thing(10)),
        (T["k"].foo["z"], {"k": Box({"z": 5})}, [5], {"k": Box({"z": 50})}),
        (T.each(), [1, 2], [1, 2], [10, 20]),
        (T.each(), (1, 2), [1, 2], (10, 20)),
        (T.each(), Point(1, 2), [1, 2], Point(10, 20)),
        (T.each(), {"b": 1, "a": 2}, [1, 2], {"b": 10, "a": 20}),
        (T.each(), FrozenDict(b=1, a=2), [1, 2], FrozenDict(b=10, a=20)),
        (T.tree(), {"b": [1, 2], "a": (3, None)}, [3, 1, 2], {"b": [10, 20], "a": (30, None)}),
        (odd, [1, 2, 3], [1, 3], [10, 2, 30]),
        (T.filter(bool), 0, [], 0),
        (T.merge(T[0], T[2]), [1, 2, 3], [1, 3], [10, 2, 30]),
        (T.merge(T[0], T[0]), [1, 2], [1, 1], [100, 2]),
        (T.merge(), [1, 2], [], [1, 2]),
        (T["a"].merge(T[0], T[1]), {"a": [1, 2, 3]}, [1, 2], {"a": [10, 20, 3]}),
        (T["a"].compose(T["b"].each()), {"a": {"b": [1]}}, [1], {"a": {"b": [10]}}),
        (tu.TraverseItem("a"), {"a": 1}, [1], {"a": 10}),
    ],
)
def test_places_are_found_and_updated_in_a_copy(traversal, data, found, tenfold):
    before = copy.deepcopy(data)
    assert list(traversal.iterate(data)) == found
    updated = traversal.update(lambda x: 10 * x, data)
    assert updated == tenfold
    assert type(updated) is type(data)
    assert data == before


def test_slices():
    assert list(T[:2].iterate([1, 2, 3])) == [[1, 2]]
    assert T[:2].update(lambda v: v[::-1], [1, 2, 3]) == [2, 1, 3]
    assert T[1:].update(lambda v: [9], [1, 2, 3]) == [1, 9]


def test_arrays():
    for array in (np.arange(3), jnp.arange(3)):
        updated = T[0].update(lambda x: x + 5, array)
        assert type(updated) is type(array)
        np.testing.assert_array_equal(updated, [5, 1, 2])
        np.testing.assert_array_equal(array, [0, 1, 2])


@given(trees)
def test_set_writes_what_iterate_reads(tree):
    leaves = list(T.tree().iterate(tree))
    assert T.tree().set(leaves, tree) == tree
    assert list(T.tree().iterate(T.tree().set([0] * len(leaves), tree))) == [0] * len(leaves)


def test_set():
    values = [7, 8]
    assert T.each().set(values, [1, 2]) == [7, 8]
    assert values == [7, 8]
    assert T.each().set(iter(values), (1, 2)) == (7, 8)
    for wrong in ([7], [7, 8, 9]):
        with pytest.raises(ValueError, match=rf"{len(wrong)} values? for 2 places"):
            T.each().set(wrong, [1, 2])


@pytest.mark.parametrize("data", [3, "ab", {1, 2}, Box(1), np.arange(3)])
def test_each_raises_an_error_for_anything_without_entries(data):
    for use in (lambda: list(T.each().iterate(data)), lambda: T.each().update(len, data)):
        with pytest.raises(ValueError, match=f"not those of {type(data).__name__}"):
            use()


def test_places_that_are_not_there():
    for traversal, data, error in (
        (T["q"], {"a": 1}, KeyError),
        (T["q"], FrozenDict(a=1), KeyError),
        (T[9], [1], IndexError),
        (T[9], (1,), IndexError),
        (T.q, Point(1, 2), AttributeError),
        (T.q, Box(1), AttributeError),
    ):
        with pytest.raises(error):
            traversal.update(lambda x: x, data)
        with pytest.raises(error):
            list(traversal.iterate(data))
    with pytest.raises(TypeError, match="item 0 of str cannot be replaced"):
        T[0].update(str.upper, "abc")


def test_traversals_can_be_copied_and_pickled_and_are_not_sequences():
    for again in (copy.copy(T["a"].foo), pickle.loads(pickle.dumps(T["a"].foo))):
        assert again.update(lambda x: x + 1, {"a": Box(1)}) == {"a": Box(2)}
    assert not hasattr(T, "__len__")
    with pytest.raises(TypeError, match="not iterable"):
        iter(T)


def test_traversal_is_abstract_and_can_be_extended():
    with pytest.raises(TypeError, match="abstract"):
        tu.Traversal()

    class First(tu.Traversal):
        def iterate(self, inputs):
            yield inputs[0]

        def update(self, fn, inputs):
            return [fn(inputs[0]), *inputs[1:]]

    assert First().each().update(lambda x: x + 1, [[1, 2], [3]]) == [[2, 3], [3]]


@pytest.mark.parametrize("places", [slice(2, 5), slice(None, None, -2), slice(-1, None), slice(9)])
def test_a_slice_of_a_tuple_is_each_item_by_itself(places):
    letters = tuple("abcdef")
    assert list(T[places].iterate(letters)) == list(letters[places])
    upper = list(letters)
    upper[places] = [x.upper() for x in letters[places]]
    assert T[places].update(str.upper, letters) == tuple(upper)
    numbers = [str(i) for i in range(len(letters[places]))]
    updated = T[places].set(numbers, letters)
    assert sorted(updated) == sorted([*numbers, *set(letters) - set(letters[places])])
    assert T["row"][:1].update(lambda n: -n, {"row": (7, 8)}) == {"row": (-7, 8)}
