"""Cursors: edits deep inside immutable trees."""

import collections
import copy
import dataclasses
import operator
import pickle
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hints
from hints import Remedy
from linnet.module_core import cursor as cursor_module
from linnet.module_core.cursor import Cursor, cursor
from linnet.module_core.errors import ArgumentTypeError, CursorFindError, TraverseTreeError
from linnet.module_core.linen import Module
from linnet.struct import FrozenDict, PyTreeNode, freeze

Pair = collections.namedtuple("Pair", "x y")


@dataclasses.dataclass
class Record:
    a: object
    b: object = None


class Node(PyTreeNode):
    a: object
    b: object = None


class Layer(Module):
    features: int
    inner: object = None


def tree():
    return {
        "a": 1,
        "b": [1, 2, (3, {"z": 5})],
        "pair": Pair(1, [2]),
        "record": Record(1, [2]),
        "node": Node(1, {"k": 2}),
        "frozen": freeze({"u": {"v": 1}}),
        "ordered": collections.OrderedDict(q=1),
    }


EDITS = {
    "list": lambda c: c["b"][0],
    "from the end": lambda c: c["b"][-3],
    "NumPy's index": lambda c: c["b"][np.int64(0)],
    "nested": lambda c: c["b"][2][1]["z"],
    "named": lambda c: c["pair"].x,
    "named, inside": lambda c: c["pair"].y[0],
    "named, by number": lambda c: c["pair"][0],
    "dataclass": lambda c: c["record"].b[0],
    "node": lambda c: c["node"].b["k"],
    "frozen": lambda c: c["frozen"]["u"]["v"],
    "ordered": lambda c: c["ordered"]["q"],
}


@pytest.mark.parametrize("edit", EDITS)
def test_set_makes_a_tree_of_the_same_types(edit):
    at = EDITS[edit]
    old = tree()
    new = at(cursor(old)).set(99)
    assert old == tree()
    assert at(cursor(new)).build() == 99
    assert at(cursor(new)).set(at(cursor(old)).build()) == old
    assert [type(v) for v in new.values()] == [type(v) for v in old.values()]


def test_changes_collect_until_the_tree_is_built():
    old = tree()
    c = cursor(old)
    c["b"][2][1]["z"] = 7
    c["node"].a += 4
    c["record"].b[0] *= 5
    c["new"] = "x"
    new = c.build()
    assert new["b"] == [1, 2, (3, {"z": 7})]
    assert (new["node"], new["record"], new["new"]) == (Node(5, {"k": 2}), Record(1, [10]), "x")
    assert old == tree()
    assert new["frozen"] is old["frozen"]
    assert c["b"].build() == new["b"]
    assert c["b"][0].set(0)["new"] == "x"


def test_what_was_not_changed_is_shared_and_nothing_else():
    old = {"a": [1], "b": [2]}
    c = cursor(old)
    new = c["a"][0].set(3)
    assert new["b"] is old["b"]
    assert cursor(old).build() is not old
    assert c["a"] is c["a"]


def test_the_last_assignment_counts():
    c = cursor({"b": [1, 2]})
    left = c["b"]
    c["b"] = [7, 8]
    left[0] = 3  # the tree no longer contains this object
    c["b"][-1] = 9
    assert c.build() == {"b": [7, 9]}
    assert c["b"][1].build() == 9
    c["b"] = 5
    assert c.build() == {"b": 5}


def test_changes_are_seen():
    c = cursor({"b": [1, 2]})
    c["b"][0] = 5
    assert c["b"] == [5, 2]
    assert c["b"] + [1] == [5, 2, 1]
    assert str(c["b"]) == "[5, 2]"
    assert c.find(lambda path, x: x == 5).set(6) == {"b": [6, 2]}

    def plus_one(path, x):
        return x + 1 if isinstance(x, int) else x

    assert c.apply_update(plus_one).apply_update(plus_one).build() == {"b": [8, 4]}


def test_a_cursor_that_is_assigned_is_its_value():
    c = cursor({"a": [1], "b": 2})
    c["b"] = c["a"]
    assert c.build() == {"a": [1], "b": [1]}
    assert c["a"].set(c["b"]) == {"a": [1], "b": [1]}
    assert cursor(c).build() == {"a": [1], "b": [1]}


def test_a_whole_tree_can_be_set():
    assert cursor({"a": 1}).set(5) == 5


def test_update_visits_from_the_outside_in():
    visited = []

    def update(path, x):
        visited.append(path)
        return "X" if path in {"b/2", "pair"} else x

    c = cursor(tree())
    assert c.apply_update(update) is c
    assert c.build()["b"] == [1, 2, "X"]
    assert c.build()["pair"] == "X"
    paths = """
        a b b/0 b/1 b/2 pair record record/a record/b record/b/0 node node/a node/b node/b/k
        frozen frozen/u frozen/u/v ordered ordered/q"""
    assert visited == paths.split()
    part = cursor(tree())
    part["b"].apply_update(lambda path, x: x * 10 if path == "0" else x)
    assert part.build()["b"][0] == 10


def test_find_all_stops_at_what_it_finds():
    c = cursor(tree())
    paths = [at._path for at in c.find_all(lambda path, x: isinstance(x, (list, dict)))]
    assert paths == ["['b']", "['pair'].y", "['record'].b", "['node'].b", "['ordered']"]
    for number, at in enumerate(c.find_all(lambda path, x: isinstance(x, int))):
        at.set(number)
    assert c.build()["b"] == [1, 2, (3, {"z": 4})]


def test_find_wants_exactly_one():
    c = cursor({"a": 0, "b": {"kernel": 0}, "c": {"kernel": 0}})
    assert c.find(lambda path, x: path == "a").set(1)["a"] == 1
    with pytest.raises(CursorFindError, match="No object in the tree"):
        c.find(lambda path, x: path == "q")
    with pytest.raises(CursorFindError, match=r"\['b'\]\['kernel'\] and \['c'\]\['kernel'\]"):
        c.find(lambda path, x: path.endswith("kernel"))
    with pytest.raises(TraverseTreeError, match="either `update_fn` or `cond_fn`"):
        list(cursor_module._traverse_tree((), {}))


NAMES = """
    add sub mul truediv floordiv mod pow lshift rshift and_ xor or_ lt le gt ge eq ne matmul"""
BINARY = NAMES.split()


@pytest.mark.parametrize("name", BINARY)
def test_operators_are_the_value_s(name):
    apply = getattr(operator, name)
    a, b = (np.array([[7, 2], [3, 4]]), np.array([[2, 1], [3, 5]])) if name == "matmul" else (7, 2)
    expected = apply(a, b)
    c = cursor({"a": a, "b": b})
    values = [apply(c["a"], b), apply(c["a"], c["b"])]
    if name != "matmul":  # NumPy takes a cursor for an object
        values.append(apply(a, c["b"]))
    for value in values:
        np.testing.assert_array_equal(value, expected)
        assert type(value) is type(expected)


def test_other_functions_of_the_value():
    c = cursor({"n": -3, "x": 1.26, "items": [4, 5], "pair": Pair(1, 2), "none": None})
    assert (-c["n"], +c["n"], abs(c["n"]), ~c["n"]) == (3, -3, 3, 2)
    assert (divmod(c["n"], 2), divmod(7, c["n"])) == ((-2, 1), (-3, -2))
    assert (round(c["x"], 1), round(c["x"])) == (1.3, 1)
    assert len(c["items"]) == 2
    assert [item.build() for item in c["items"]] == [4, 5]
    assert [item.build() for item in reversed(c["pair"])] == [2, 1]
    assert 5 in c["items"]
    assert (bool(c["n"]), bool(c["none"])) == (True, False)
    with pytest.raises(TypeError, match="unhashable"):
        hash(c)
    with pytest.raises(NotImplementedError, match="needs a list or tuple"):
        iter(c)
    doubled = cursor({"x": jnp.ones(2)})["x"] * 2
    np.testing.assert_array_equal(doubled, [2, 2])


def test_repr_shows_the_changes():
    c = cursor({"b": [1, FrozenDict({"u": 1})], "r": Record(1)})
    c["b"][0] = 7
    c["r"].a = 3
    assert repr(c) == (
        "Cursor(\n"
        "  _obj={'b': [1, FrozenDict({\n"
        "      u: 1,\n"
        "  })], 'r': Record(a=1, b=None)},\n"
        "  _changes={\n"
        "    'b': Cursor(\n"
        "           _obj=[1, FrozenDict({\n"
        "               u: 1,\n"
        "           })],\n"
        "           _changes={\n"
        "             0: Cursor(\n"
        "                  _obj=7,\n"
        "                  _changes={}\n"
        "                )\n"
        "           }\n"
        "         ),\n"
        "    'r': Cursor(\n"
        "           _obj=Record(a=1, b=None),\n"
        "           _changes={\n"
        "             'a': Cursor(\n"
        "                    _obj=3,\n"
        "                    _changes={}\n"
        "                  )\n"
        "           }\n"
        "         )\n"
        "  }\n"
        ")"
    )


def test_modules_keep_their_names():
    module = Layer(3, Layer(4, name="inside"), name="outside")
    new = cursor(module).inner.features.set(5)
    assert (new.features, new.name) == (3, "outside")
    assert (new.inner.features, new.inner.name) == (5, "inside")


def test_copies():
    c = cursor(tree())
    c["a"] = 5
    for twin in (copy.deepcopy(c), pickle.loads(pickle.dumps(c))):
        twin["a"] = 6
        assert (twin.build()["a"], c.build()["a"]) == (6, 5)


values = st.recursive(
    st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(Node, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=8,
)


@given(values)
def test_an_update_is_a_map_over_the_leaves(value):
    def plus_one(x):
        if isinstance(x, int):
            return x + 1
        if isinstance(x, dict):
            return {k: plus_one(v) for k, v in x.items()}
        if isinstance(x, Node):
            return Node(plus_one(x.a), plus_one(x.b))
        return type(x)(*map(plus_one, x)) if isinstance(x, Pair) else type(x)(map(plus_one, x))

    before = copy.deepcopy(value)
    c = cursor([value])
    c.apply_update(lambda path, x: x + 1 if isinstance(x, int) else x)
    assert c.build() == [plus_one(value)]
    assert value == before


def assign(c, key, value=0):
    c[key] = value


MISTAKES = [
    (lambda: cursor({"kernel": 1})["kernle"], KeyError, "Did you mean 'kernel'"),
    (lambda: cursor([1])[1], IndexError, "index 1 is out of range"),
    (lambda: assign(cursor((1,)), -2), IndexError, "index -2 is out of range"),
    (lambda: cursor(Record(1)).q, AttributeError, "has no attribute 'q'. Available: 'a', 'b'"),
    (lambda: setattr(cursor(Record(1)), "q", 1), AttributeError, "Record has no field 'q'"),
    (lambda: setattr(cursor(Pair(1, 2)), "z", 1), AttributeError, "Pair has no field 'z'"),
    (lambda: setattr(cursor([1]), "z", 1), ArgumentTypeError, "has items, not fields: got 'z'"),
    (lambda: cursor(5)[0], ArgumentTypeError, "has no items, so no item 0"),
    (lambda: cursor({})._obj_, AttributeError, "has no attribute '_obj_'"),
    (lambda: cursor([])(), TypeError, "not callable"),
]


@pytest.mark.parametrize(("mistake", "error", "words"), MISTAKES)
def test_mistakes_are_named_where_they_are_made(mistake, error, words):
    with pytest.raises(error, match=words):
        mistake()


CURSORS = {"a": {"kernel": 1}, "b": {"kernel": 2}}
REMEDIES = [
    Remedy(
        "Set the items one by one, or the whole list or tuple with `set`.",
        lambda: cursor([1, 2])[0:1],
        lambda: [cursor([1, 2])[0].set(3), cursor({"a": [1, 2]})["a"].set([3, 2])],
    ),
    Remedy(
        "Write `.{}` for an attribute.",
        lambda: cursor(Record(1))["a"],
        lambda: cursor(Record(1)).a,
    ),
    Remedy(
        "Write `.{} = ...`.",
        lambda: assign(cursor(Record(1)), "a"),
        lambda: setattr(cursor(Record(1)), "a", 0),
    ),
    Remedy(
        "Write `[{}] = ...`.",
        lambda: setattr(cursor({"a": 1}), "a", 0),
        lambda: assign(cursor({"a": 1}), "a"),
    ),
    Remedy(
        "Write `[0] = ...` for the first.",
        lambda: assign(cursor([1]), "a"),
        lambda: assign(cursor([1]), 0),
    ),
    Remedy(
        "Cursors follow mappings, lists, tuples, and dataclasses. Set the whole object.",
        lambda: assign(cursor({"x": np.ones(2)})["x"], 0),
        lambda: cursor({"x": np.ones(2)})["x"].set(np.zeros(2)),
    ),
    Remedy(
        "Use `find_all`, or a condition that holds for one.",
        lambda: cursor(CURSORS).find(lambda path, x: "kernel" in path),
        lambda: [
            list(cursor(CURSORS).find_all(lambda path, x: "kernel" in path)),
            cursor(CURSORS).find(lambda path, x: path == "a/kernel"),
        ],
    ),
    Remedy(
        'It gets paths such as "encoder/layers/0". Does the tree have the path that you look for?',
        lambda: cursor(CURSORS).find(lambda path, x: path == "a.kernel"),
        lambda: cursor(CURSORS).find(lambda path, x: path == "a/kernel"),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(Path(cursor_module.__file__))
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []


def test_types_say_what_is_built():
    assert isinstance(cursor([1]), Cursor)
