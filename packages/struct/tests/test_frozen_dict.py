"""FrozenDict is a mapping, a pytree, and immutable."""

import collections
import copy
import pickle
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet import struct
from linnet.struct import FrozenDict, freeze, unfreeze

trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3)
).filter(lambda tree: isinstance(tree, dict))


@pytest.fixture
def params():
    return FrozenDict({"b": 1, "a": {"x": 2}})


def test_it_takes_what_dict_takes():
    pairs = [("a", 1), ("b", 2)]
    made = FrozenDict(a=1, b=2)
    assert made == FrozenDict(pairs) == FrozenDict(dict(pairs)) == freeze(pairs)
    assert made == FrozenDict({"a": 1}, b=2) == FrozenDict(types.MappingProxyType(dict(pairs)))
    assert FrozenDict(made) == made
    assert len(FrozenDict()) == 0
    with pytest.raises(TypeError, match="not iterable"):
        FrozenDict(3)


def test_it_is_a_mapping(params):
    assert isinstance(params, collections.abc.Mapping)
    assert list(params) == ["b", "a"]
    assert (len(params), "a" in params, "x" in params) == (2, True, False)
    assert params["b"] == params.get("b") == 1
    assert (params.get("x"), params.get("x", 5)) == (None, 5)
    with pytest.raises(KeyError, match="'x'"):
        params["x"]


def test_nested_dicts_come_out_frozen(params):
    assert isinstance(params["a"], FrozenDict)
    assert isinstance(params.get("a"), FrozenDict)
    assert isinstance(dict(params.items())["a"], FrozenDict)
    assert isinstance(list(params.values())[1], FrozenDict)
    nested = FrozenDict({"a": collections.OrderedDict(b=1), "c": [{"d": 1}]})
    assert isinstance(nested["a"], FrozenDict)
    assert isinstance(nested["c"][0], dict)  # a list's items are left as they are


def test_views(params):
    assert repr(params.keys()) == "frozen_dict_keys(['b', 'a'])"
    assert repr(FrozenDict(a=1).values()) == "frozen_dict_values([1])"
    assert repr(FrozenDict(a=1).items()) == "frozen_dict_items([('a', 1)])"
    assert params.keys() & {"a"} == {"a"}
    assert len(params.items()) == 2


def test_nothing_changes_it(params):
    with pytest.raises(ValueError, match=r"FrozenDict is immutable: cannot set 'b'"):
        params["b"] = 2
    with pytest.raises(ValueError, match=r"FrozenDict is immutable: cannot set 'y'"):
        params["a"]["y"] = 2
    with pytest.raises(ValueError, match=r"FrozenDict is immutable: cannot delete 'b'"):
        del params["b"]
    with pytest.raises(AttributeError):
        params.other = 1
    assert params == {"b": 1, "a": {"x": 2}}


def test_the_source_can_be_changed_without_effect():
    source = {"a": {"b": 1}}
    frozen = freeze(source)
    source["a"]["b"] = 2
    source["c"] = 3
    assert frozen == {"a": {"b": 1}}


def test_unfreeze_gives_a_copy_of_one_s_own(params):
    for thawed in (params.unfreeze(), unfreeze(params), unfreeze({"q": params})["q"]):
        assert type(thawed) is dict
        assert type(thawed["a"]) is dict
        thawed["a"]["x"] = 7
        thawed["b"] = 7
    with_list = FrozenDict({"l": [1, (2, [3])]})
    thawed = with_list.unfreeze()
    thawed["l"][1][1].append(4)
    thawed["l"].append(5)
    assert with_list == {"l": [1, (2, [3])]}
    assert params == {"b": 1, "a": {"x": 2}}


def test_unfreeze_takes_dicts_and_leaves():
    source = {"b": 1, "a": {"q": FrozenDict({"x": 1})}}
    thawed = unfreeze(source)
    assert thawed == {"b": 1, "a": {"q": {"x": 1}}}
    assert type(thawed["a"]["q"]) is dict
    assert thawed is not source
    assert thawed["a"] is not source["a"]
    assert unfreeze(3) == 3


def test_unfreeze_sorts_where_it_can():
    assert list(FrozenDict({"b": 1, "a": 2}).unfreeze()) == ["a", "b"]
    assert list(FrozenDict({"b": 1, 0: 2}).unfreeze()) == ["b", 0]


def test_equality_and_hash(params):
    assert params == {"a": {"x": 2}, "b": 1}
    assert {"a": {"x": 2}, "b": 1} == params  # noqa: SIM300  (the dict is asked first)
    assert params == FrozenDict({"a": {"x": 2}, "b": 1})
    assert params != FrozenDict({"a": {"x": 2}})
    assert params != 3
    assert hash(params) == hash(FrozenDict({"a": {"x": 2}, "b": 1}))
    assert len({params, FrozenDict({"a": {"x": 2}, "b": 1})}) == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(FrozenDict({"a": np.ones(2)}))


@given(trees)
def test_freeze_and_unfreeze_are_inverse(tree):
    frozen = freeze(tree)
    assert frozen.unfreeze() == tree == frozen
    assert freeze(frozen.unfreeze()) == frozen
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert hash(frozen) == hash(freeze(dict(reversed(tree.items()))))


@given(trees)
def test_it_flattens_like_a_dict(tree):
    leaves, structure = jax.tree.flatten(freeze(tree))
    assert leaves == jax.tree.leaves(tree)
    assert jax.tree.unflatten(structure, leaves) == tree
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(freeze(tree))]
    assert paths == [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


@given(trees, trees)
def test_copy_and_pop(tree, other):
    frozen = freeze(tree)
    added = frozen.copy(other)
    assert added == {**tree, **other}
    assert frozen == tree
    assert struct.copy(tree, other) == struct.copy(frozen, freeze(other)) == added
    for key in tree:
        rest, value = frozen.pop(key)
        assert rest == {k: v for k, v in tree.items() if k != key}
        assert value == tree[key]
        assert struct.pop(tree, key) == struct.pop(frozen, key) == (rest, value)


def test_the_functions_keep_the_kind_of_dict(params):
    assert type(struct.copy(params)) is FrozenDict
    assert type(struct.copy(params.unfreeze())) is dict
    assert type(struct.pop(params, "a")[0]) is FrozenDict
    rest, value = struct.pop(source := {"a": {"x": 1}, "b": 2}, "a")
    assert (type(rest), type(value)) == (dict, dict)
    value["x"] = rest["b"] = 5
    assert source == {"a": {"x": 1}, "b": 2}


def test_the_functions_raise_an_error_for_anything_else(params):
    for function in (struct.copy, lambda x: struct.pop(x, "a")):
        with pytest.raises(TypeError, match="expected a FrozenDict or a dict, got int"):
            function(3)
    for source in (params, params.unfreeze()):
        with pytest.raises(KeyError, match="'q'"):
            struct.pop(source, "q")


def test_a_subclass_keeps_its_class_when_copied():
    class Special(FrozenDict): ...

    assert type(Special(a=1).copy({"b": 2})) is Special
    assert type(Special(a=1, b=2).pop("a")[0]) is Special
    assert type(freeze(Special(a=1))) is FrozenDict


def test_copies_and_pickles(params):
    for again in (copy.copy(params), copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
        assert again == params
        assert list(again) == list(params)


def test_transforms(params):
    assert jax.tree.map(lambda x: 10 * x, params) == {"b": 10, "a": {"x": 20}}
    gradient = jax.jit(jax.grad(lambda p: p["a"]["x"] ** 2 * p["b"]))
    assert gradient(FrozenDict({"b": 2.0, "a": {"x": 3.0}})) == {"b": 9.0, "a": {"x": 12.0}}
    mapped = jax.vmap(lambda p: p["a"], in_axes=(FrozenDict({"a": 0}),))
    np.testing.assert_array_equal(mapped(FrozenDict({"a": jnp.arange(3)})), [0, 1, 2])
    assert jax.tree.leaves(FrozenDict({"a": None, "b": {}})) == []
    assert jax.tree.structure(params) != jax.tree.structure(params.unfreeze())


def test_a_frozen_dict_can_be_a_static_argument(params):
    f = jax.jit(lambda p, x: x * p["a"]["x"], static_argnums=0)
    assert f(params, 4) == 8


def test_keys_that_cannot_be_sorted_raise_an_error_as_a_pytree():
    for flatten in (jax.tree.leaves, jax.tree_util.tree_leaves_with_path):
        with pytest.raises(TypeError, match="cannot be sorted") as caught:
            flatten(FrozenDict({1: 2, "a": 3}))
        assert "FrozenDict: the keys [1, 'a']" in str(caught.value)


def test_text():
    assert repr(FrozenDict()) == "FrozenDict({})"
    assert repr(FrozenDict({"b": 1, "a": {"x": "s"}, "e": {}})) == (
        "FrozenDict({\n    b: 1,\n    a: {\n        x: 's',\n    },\n    e: {},\n})"
    )
    assert struct.pretty_repr({"a": {"b": 1}}, num_spaces=1) == "{\n a: {\n  b: 1,\n },\n}"
    assert struct.pretty_repr({"a": np.ones((2, 1))}) == (
        "{\n    a: array([[1.],\n           [1.]]),\n}"
    )
    assert FrozenDict(a=1).pretty_repr(2) == "FrozenDict({\n  a: 1,\n})"
    assert struct.pretty_repr(3) == "3"
