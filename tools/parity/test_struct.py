"""linnet.struct against Flax: names, parameters, pytrees, texts, hashes and orders of keys."""

import copy
import dataclasses
import inspect
import pickle
from types import ModuleType
from typing import Any

import flax.core.frozen_dict
import flax.serialization
import flax.struct
import flax.traverse_util
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linnet.struct
from linnet.struct import frozen_dict, serialization, traverse_util

MODULES = [
    (flax.struct, linnet.struct),
    (flax.core.frozen_dict, frozen_dict),
    (flax.serialization, serialization),
    (flax.traverse_util, traverse_util),
]


ALIASES = ("PathParts", "VariableDict")  # of types, which don't know their module


def public(theirs):
    """The names that a module of Flax defines, not those that it imports or hides."""
    return {
        name: value
        for name, value in vars(theirs).items()
        if name in ALIASES
        or not (
            name.startswith("_")
            or isinstance(value, ModuleType)
            or getattr(value, "__module__", theirs.__name__) != theirs.__name__
        )
    }


def parameters(function):
    """Name, kind and default of each parameter; a mapping becomes a plain dict."""
    return [
        (
            p.name,
            p.kind,
            dict(p.default) if isinstance(p.default, frozen_dict.Mapping) else p.default,
        )
        for p in inspect.signature(function).parameters.values()
    ]


NAMES = [
    pytest.param(getattr(theirs, name), ours, name, id=f"{theirs.__name__}.{name}")
    for theirs, ours in MODULES
    for name in public(theirs)
    if name not in ("K", "V")  # type variables of FrozenDict
]


@pytest.mark.parametrize(("theirs", "ours", "name"), NAMES)
def test_every_public_name_is_there_with_the_same_parameters(theirs, ours, name):
    mine = getattr(ours, name)
    if not callable(theirs) or name in (*ALIASES, "TNode"):
        return
    if "__init__" in vars(theirs) or not inspect.isclass(theirs):
        # Traversals without a constructor show Flax's `__new__`, which ignores its arguments.
        assert parameters(mine) == parameters(theirs)
    if inspect.isclass(theirs):
        for method, value in vars(theirs).items():
            if not method.startswith("_") and callable(getattr(theirs, method)):
                assert parameters(getattr(mine, method)) == parameters(getattr(theirs, method))
                assert isinstance(inspect.getattr_static(mine, method), type(value))


def test_what_was_compared():
    names = {f"{param.id}" for param in NAMES}
    assert len(names) == len(NAMES) > 35
    for name in (
        "flax.struct.dataclass",
        "flax.struct.field",
        "flax.struct.PyTreeNode",
        "flax.core.frozen_dict.FrozenDict",
        "flax.core.frozen_dict.pretty_repr",
        "flax.serialization.MAX_CHUNK_SIZE",
        "flax.serialization.from_state_dict",
        "flax.traverse_util.flatten_dict",
        "flax.traverse_util.TraverseTree",
        "flax.traverse_util.empty_node",
    ):
        assert name in names
    assert serialization.MAX_CHUNK_SIZE == flax.serialization.MAX_CHUNK_SIZE


# Dataclasses.


def classes(struct):
    @struct.dataclass
    class A:
        x: Any
        tag: Any = struct.field(pytree_node=False, default="t")
        y: Any = struct.field(default=3, metadata={"unit": "m"})

    @struct.dataclass(kw_only=True)
    class B(A):
        z: Any = dataclasses.field(default_factory=lambda: [1])

    class C(struct.PyTreeNode):
        x: Any
        tag: Any = struct.field(pytree_node=False, default="t")

    class D(C, kw_only=True):
        z: Any = 4

    return [A, B, C, D]


PAIRS = list(zip(classes(flax.struct), classes(linnet.struct), strict=True))


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=lambda cls: cls.__name__)
def test_dataclasses_are_the_same_pytrees(theirs, ours):
    a, b = theirs({"w": 1}), ours({"w": 1})
    assert repr(a).split(".")[-1] == repr(b).split(".")[-1]
    assert str(jax.tree.structure(a)) == str(jax.tree.structure(b))
    assert jax.tree_util.tree_leaves_with_path(a) == jax.tree_util.tree_leaves_with_path(b)
    assert parameters(theirs) == parameters(ours)
    assert parameters(theirs.replace)[0] == parameters(ours.replace)[0]
    assert [(f.name, f.metadata) for f in dataclasses.fields(theirs)] == [
        (f.name, f.metadata) for f in dataclasses.fields(ours)
    ]
    assert hash(theirs(1)) == hash(ours(1)) if ours.__name__ != "B" else True
    assert ours.__match_args__ == theirs.__match_args__


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=lambda cls: cls.__name__)
def test_dataclasses_raise_the_same_errors(theirs, ours):
    for use in (
        lambda cls: cls(),
        lambda cls: cls(1, bogus=2),
        lambda cls: cls(1).replace(bogus=2),
        lambda cls: setattr(cls(1), "x", 2),
        lambda cls: delattr(cls(1), "x"),
        lambda cls: hash(cls([1])),
        lambda cls: jax.tree.map(lambda a, b: a, cls(1), cls(1, tag="other")),
    ):
        with pytest.raises(Exception) as a:  # noqa: PT011  (whatever it is)
            use(theirs)
        with pytest.raises(Exception) as b:  # noqa: PT011
            use(ours)
        assert b.type is a.type
    for struct in (flax.struct, linnet.struct):
        with pytest.raises(NotImplementedError):
            struct.PyTreeNode()


# Frozen dictionaries.

leaves = st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
leaves |= st.sampled_from([np.zeros((2, 2)), np.zeros((2, 1, 2)), np.float32(1)])
trees = st.recursive(
    leaves, lambda inner: st.dictionaries(st.text("abcd", max_size=2), inner, max_size=4)
).filter(lambda tree: isinstance(tree, dict))


def ordered(x):
    """Nested dicts as lists of pairs, to compare the order of keys, too; arrays as text."""
    if isinstance(x, dict | flax.core.FrozenDict | frozen_dict.FrozenDict):
        return "frozen" if not isinstance(x, dict) else "dict", [
            (key, ordered(value)) for key, value in x.items()
        ]
    return repr(x)


@settings(deadline=None, max_examples=100)
@given(trees, trees)
def test_frozen_dicts_agree_in_everything_observable(tree, other):
    theirs, ours = flax.core.frozen_dict, frozen_dict
    a, b = theirs.freeze(tree), ours.freeze(tree)
    assert repr(a) == repr(b)
    assert a.pretty_repr(2) == b.pretty_repr(2)
    assert theirs.pretty_repr(tree, 3) == ours.pretty_repr(tree, 3)
    assert repr(a.keys()) == repr(b.keys())
    assert repr(a.values()) == repr(b.values())
    assert list(map(repr, a.items())) == list(map(repr, b.items()))
    assert str(jax.tree.structure(a)) == str(jax.tree.structure(b))
    assert [path for path, _ in jax.tree_util.tree_leaves_with_path(a)] == [
        path for path, _ in jax.tree_util.tree_leaves_with_path(b)
    ]
    assert ordered(jax.tree.map(lambda x: x, a)) == ordered(jax.tree.map(lambda x: x, b))
    assert ordered(a.unfreeze()) == ordered(b.unfreeze())
    assert ordered(theirs.unfreeze({"q": a, "p": tree})) == ordered(
        ours.unfreeze({"q": b, "p": tree})
    )
    assert ordered(a.copy(other)) == ordered(b.copy(other))
    assert ordered(a.copy(theirs.freeze(other))) == ordered(b.copy(ours.freeze(other)))
    assert ordered(theirs.copy(tree, other)) == ordered(ours.copy(tree, other))
    assert ordered(theirs.copy(tree, theirs.freeze(other))) == ordered(
        ours.copy(tree, ours.freeze(other))
    )
    for key in tree:
        assert list(map(ordered, a.pop(key))) == list(map(ordered, b.pop(key)))
        assert list(map(ordered, theirs.pop(tree, key))) == list(map(ordered, ours.pop(tree, key)))


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers() | st.dictionaries(st.text(), st.text())))
def test_frozen_dicts_have_the_same_hash_and_compare_alike(tree):
    a, b = flax.core.freeze(tree), frozen_dict.freeze(tree)
    assert hash(a) == hash(b)
    assert a == b
    assert b == a
    assert (a == tree) is (b == tree) is True
    assert pickle.loads(pickle.dumps(b)) == b == copy.deepcopy(b)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.FrozenDict(3),
        lambda m: m.FrozenDict(a=1).__setitem__("a", 2),
        lambda m: m.FrozenDict(a=1)["b"],
        lambda m: m.FrozenDict(a=1).pop("b"),
        lambda m: setattr(m.FrozenDict(a=1), "other", 2),
        lambda m: m.FrozenDict(a=1) | {"b": 1},
        lambda m: hash(m.FrozenDict(a=[1])),
        lambda m: jax.tree.leaves(m.FrozenDict({1: 1, "a": 2})),
        lambda m: jax.tree.map(lambda x, y: x, m.FrozenDict(a=1), {"a": 1}),
        lambda m: jax.tree.map(lambda x, y: x, m.FrozenDict(a=1), m.FrozenDict(b=1)),
        lambda m: m.copy(3),
        lambda m: m.pop(3, "a"),
        lambda m: m.pop({"a": 1}, "b"),
    ],
)
def test_frozen_dicts_raise_the_same_errors(use):
    with pytest.raises(Exception) as a:  # noqa: PT011  (whatever it is)
        use(flax.core.frozen_dict)
    with pytest.raises(Exception) as b:  # noqa: PT011
        use(frozen_dict)
    assert b.type is a.type
