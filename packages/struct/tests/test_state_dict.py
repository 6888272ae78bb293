"""State dicts: conversion, restoring, and one error for everything that does not fit."""

import collections
import copy
import pickle
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet import struct
from linnet.struct import FrozenDict, serialization
from linnet.struct.serialization import (
    StateDictError,
    from_state_dict,
    register_serialization_state,
    to_state_dict,
)


class Point(NamedTuple):
    x: Any
    y: Any


class Legacy(NamedTuple):
    name: Any
    fields: Any
    values: Any


@struct.dataclass
class Box:
    value: Any
    step: Any = 0
    tag: str = struct.field(pytree_node=False, default="t")


class Meter:
    """A class with handlers of its own."""

    def __init__(self, total):
        self.total = total

    def __eq__(self, other):
        return isinstance(other, Meter) and self.total == other.total

    __hash__ = None


register_serialization_state(
    Meter,
    lambda meter: {"total": to_state_dict(meter.total)},
    lambda meter, state: Meter(from_state_dict(meter.total, state["total"], name="total")),
)

keys = st.text("abc", max_size=2) | st.integers(-3, 12)  # different as strings, too
trees = st.recursive(
    st.integers() | st.none() | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(FrozenDict)
        | st.builds(Point, inner, inner)
        | st.builds(Box, inner, inner, st.sampled_from(["t", "u"]))
        | st.builds(Meter, inner)
    ),
    max_leaves=20,
)


def same(a, b):
    """Equality that tells a list from a tuple and a FrozenDict from a dict."""
    assert type(a) is type(b)
    if isinstance(a, dict | FrozenDict):
        assert list(a) == list(b)
        return all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Box):
        return a.tag == b.tag and same(a.value, b.value) and same(a.step, b.step)
    return a == b


def test_every_container_becomes_a_dict_with_string_keys():
    tree = {
        "b": [1, (2, 3)],
        "a": FrozenDict({"z": 1, "c": Point(1, [2])}),
        3: Box(1),
        "meter": Meter([5]),
        "partial": jax.tree_util.Partial(print, [1], k=2),
        "empty": [{}, []],
        "leaves": {"none": None, "text": "abc", "set": {1}},
    }
    state = to_state_dict(tree)
    assert state == {
        "b": {"0": 1, "1": {"0": 2, "1": 3}},
        "a": {"z": 1, "c": {"x": 1, "y": {"0": 2}}},
        "3": {"value": 1, "step": 0},
        "meter": {"total": {"0": 5}},
        "partial": {"args": {"0": {"0": 1}}, "keywords": {"k": 2}},
        "empty": {"0": {}, "1": {}},
        "leaves": {"none": None, "text": "abc", "set": {1}},
    }
    assert list(state) == ["b", "a", "3", "meter", "partial", "empty", "leaves"]
    restored = from_state_dict(tree["partial"], {"args": {"0": {"0": 5}}, "keywords": {"k": 6}})
    assert (restored.func, restored.args, restored.keywords) == (print, ([5],), {"k": 6})


def test_a_leaf_is_its_own_state():
    ordered = collections.OrderedDict(a=[1])
    for leaf in (3, "a", None, jnp.ones(2), ordered, object()):
        assert to_state_dict(leaf) is leaf
        assert from_state_dict(None, leaf) is leaf


@given(trees)
def test_a_tree_comes_back_from_its_state_dict(tree):
    assert same(from_state_dict(tree, to_state_dict(tree)), tree)


def test_values_come_from_the_state_and_structure_from_the_target():
    target = {"a": [jax.ShapeDtypeStruct((2,), jnp.float32)], 1: Box(None, 0, "keep"), "n": None}
    new = np.ones(3)
    state = {"n": {"any": "thing"}, "1": {"step": 2, "value": {"x": 1}}, "a": {"0": new}}
    restored = from_state_dict(target, FrozenDict(state))
    assert list(restored) == ["a", 1, "n"]
    assert restored["a"][0] is new
    assert restored[1] == Box({"x": 1}, 2, "keep")
    assert restored["n"] == {"any": "thing"}


def test_named_tuples_of_old_files():
    state = {"name": "Point", "fields": {"0": "x", "1": "y"}, "values": {"0": 7, "1": {"0": 8}}}
    assert from_state_dict(Point(1, [2]), state) == Point(7, [8])
    with pytest.raises(StateDictError) as caught:
        from_state_dict(Point(1, [2]), {**state, "fields": {"0": "x", "1": "z"}})
    assert (caught.value.missing, caught.value.unknown) == (("./y",), ("./z",))
    with pytest.raises(StateDictError, match="missing"):
        from_state_dict(Point(1, [2]), {"name": 1, "fields": 2, "values": 3})
    own = Legacy({"a": 1}, {"0": "x"}, {"0": 2})
    assert from_state_dict(own, to_state_dict(own)) == own


# What does not fit.


def test_all_missing_and_unknown_keys_are_named_at_once():
    target = {
        "dense": {"kernel": np.ones(2), "bias": 0.0},
        "list": [1, 2, 3],
        "point": Point(1, 2),
        "box": Box(1),
        "frozen": FrozenDict({"a": {"b": 1}}),
        "gone": [1],
    }
    state = {
        "dense": {"kernal": np.ones(2), "bias": 0.0},
        "list": {"0": 1, "2": 3, "3": 4},
        "point": {"x": 1, "z": 2},
        "box": {"value": 1, "tag": "new", "step": 0},
        "frozen": {"a": {"b": 1, "c": 2}},
        "new": 1,
    }
    before = copy.deepcopy((target, state))
    with pytest.raises(StateDictError) as caught:
        from_state_dict(target, state)
    error = caught.value
    assert error.missing == ("./dense/kernel", "./list/1", "./point/y", "./gone")
    assert error.unknown == (
        "./dense/kernal",
        "./list/3",
        "./point/z",
        "./box/tag",
        "./frozen/a/c",
        "./new",
    )
    first, hint = str(error).splitlines()
    assert all(path in first for path in (*error.missing, *error.unknown))
    assert "Nothing was changed." in hint
    np.testing.assert_equal((target, state), before)


def test_values_of_another_kind_are_named():
    target = {"a": {"b": 1}, "w": jnp.ones((2, 3)), "n": 1, "l": [1], "box": Box(1)}
    state = {"a": 3, "w": {"q": 1}, "n": {}, "l": [1], "box": None}
    with pytest.raises(StateDictError) as caught:
        from_state_dict(target, state, name="model")
    assert caught.value.mismatched == (
        "model/a should be a dict with the key 'b', not an int",
        "model/w should be an array of shape (2, 3), not a dict with the key 'q'",
        "model/n should be an int, not an empty dict",
        "model/l should be a dict with the key '0', not a list",
        "model/box should be a dict with the keys 'value', 'step', not None",
    )


def test_the_error_is_a_value_error_that_can_be_pickled():
    with pytest.raises(
        ValueError, match=r"^Cannot restore dict from the state dict: missing field \./a\."
    ) as caught:
        from_state_dict({"a": 1}, {})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.missing) == (str(caught.value), ("./a",))


def test_keys_that_are_not_strings_are_distinguished():
    with pytest.raises(StateDictError) as caught:
        from_state_dict({1: 1}, {1: 4})
    assert (caught.value.missing, caught.value.unknown) == (("./1",), ("./1 (int)",))


def test_keys_that_are_the_same_as_strings_raise_an_error():
    with pytest.raises(ValueError, match="several keys of a dict become '1'"):
        to_state_dict({1: 1, "1": 2})


def test_nothing_is_called_before_everything_fits():
    called = []

    class Loud: ...

    register_serialization_state(Loud, lambda x: {}, lambda x, state: called.append(state))
    with pytest.raises(StateDictError):
        from_state_dict([Loud(), {"a": 1}], {"0": {}, "1": {}})
    assert called == []
    from_state_dict([Loud(), {"a": 1}], {"0": {}, "1": {"a": 1}})
    assert called == [{}]


def test_what_registered_functions_find_is_collected_too():
    target = [Meter([1]), Meter({"a": 1}), Box(Meter([]))]
    state = {
        "0": {"total": {}},
        "1": {"total": {"b": 1}},
        "2": {"value": {"total": {"0": 1}}, "step": 0},
    }
    with pytest.raises(StateDictError) as caught:
        from_state_dict(target, state)
    assert caught.value.missing == ("./0/total/0", "./1/total/a")
    assert caught.value.unknown == ("./1/total/b", "./2/value/total/0")


def test_other_errors_of_registered_functions_say_where():
    with pytest.raises(KeyError) as caught:
        from_state_dict({"k": [Meter(1)]}, {"k": {"0": {}}})
    assert caught.value.__notes__ == ["while restoring ./k/0 (Meter)"]
    assert serialization.current_path() == ""


# Registration.


def test_the_path_is_known_to_registered_functions():
    seen = []

    class Spy: ...

    def restore(spy, state):
        seen.append(serialization.current_path())
        return spy

    register_serialization_state(Spy, lambda spy: {}, restore)
    from_state_dict({"k": [Spy()]}, {"k": {"0": {}}}, name="model")
    assert seen == ["model/k/0"]
    assert serialization.current_path() == ""


def test_registering_twice_needs_override():
    class Once: ...

    for ty in (dict, list, FrozenDict, Box, Meter):
        with pytest.raises(ValueError, match=f"{ty.__name__} can already be serialized"):
            register_serialization_state(ty, len, len)
    register_serialization_state(Once, lambda x: {"a": 1}, lambda x, state: x)
    register_serialization_state(Once, lambda x: {"b": 1}, lambda x, state: x, override=True)
    assert to_state_dict(Once()) == {"b": 1}
    with pytest.raises(TypeError, match="expected a class, got 3"):
        register_serialization_state(3, len, len)


def test_a_struct_can_be_registered_with_override():
    @struct.dataclass
    class Special:
        x: int

    register_serialization_state(
        Special,
        lambda s: {"twice": 2 * s.x},
        lambda s, state: Special(state["twice"] // 2),
        override=True,
    )
    assert to_state_dict([Special(3)]) == {"0": {"twice": 6}}
    assert from_state_dict([Special(0)], {"0": {"twice": 6}}) == [Special(3)]


def test_a_state_dict_has_string_keys():
    class Odd: ...

    register_serialization_state(Odd, lambda x: {7: 1}, lambda x, state: x)
    with pytest.raises(TypeError, match="Odd has the key 7"):
        to_state_dict([Odd()])


def test_is_serializable():
    for target in ({}, [], (), FrozenDict(), Point(1, 2), Box(1), Meter(1), dict, Box, Point):
        assert serialization.is_serializable(target)
    for target in (3, None, "a", np.ones(2), jnp.ones(2), object(), 1j, int, np.float32(1)):
        assert not serialization.is_serializable(target)
