"""linnet.struct.serialization against Flax: state dicts, and the same bytes in both directions."""

import collections
from typing import Any

import flax.core
import flax.serialization
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import linnet.struct
from linnet.struct import serialization

Point = collections.namedtuple("Point", "x y")


def box(struct):
    @struct.dataclass
    class Box:
        value: Any
        step: Any = 0
        tag: str = struct.field(pytree_node=False, default="t")

    return Box


TheirBox, OurBox = box(flax.struct), box(linnet.struct)

DTYPES = ["?", "i1", "i2", "i8", "u1", "u4", "f2", "f4", "f8", "c8", "c16"]
NARROW = [jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.int4, jnp.uint4]
arrays = hnp.arrays(
    st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, min_side=0), elements={"allow_nan": False}
)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
leaves |= st.text(max_size=40) | st.binary(max_size=40) | st.complex_numbers(allow_nan=False)
leaves |= arrays | arrays.map(lambda a: a.T) | arrays.filter(np.size).map(lambda a: a.ravel()[0])
leaves |= st.sampled_from([jnp.arange(3), jnp.ones((2, 1)), *[jnp.ones(2, d) for d in NARROW]])
leaves |= st.sampled_from([np.ones((), d)[()] for d in NARROW])

# Trees as nested lists of ("kind", children), from which either library's containers are built.
plans = st.recursive(
    leaves.map(lambda leaf: ("leaf", leaf)),
    lambda inner: (
        st.tuples(st.sampled_from(["list", "tuple"]), st.lists(inner, max_size=12))
        | st.tuples(
            st.sampled_from(["dict", "frozen"]),
            st.dictionaries(st.text("abc", max_size=2) | st.integers(0, 20), inner, max_size=4),
        )
        | st.tuples(st.sampled_from(["point", "box"]), st.tuples(inner, inner))
    ),
    max_leaves=12,
)


def built(plan, frozen, box):
    kind, children = plan
    if kind == "leaf":
        return children
    if isinstance(children, dict):
        made = {key: built(child, frozen, box) for key, child in children.items()}
        return frozen(made) if kind == "frozen" else made
    items = [built(child, frozen, box) for child in children]
    return (
        {"list": list, "tuple": tuple}[kind](items)
        if kind in ("list", "tuple")
        else (Point(*items) if kind == "point" else box(*items))
    )


def both(plan):
    return built(plan, flax.core.FrozenDict, TheirBox), built(
        plan, linnet.struct.FrozenDict, OurBox
    )


def text(x):
    """A tree as text that shows order, classes, dtypes and all digits."""
    with np.printoptions(threshold=10**6, floatmode="unique"):
        return repr(x)


@settings(deadline=None, max_examples=200)
@given(plans)
def test_state_dicts_and_bytes_are_the_same(plan):
    theirs, ours = both(plan)
    assert text(serialization.to_state_dict(ours)) == text(flax.serialization.to_state_dict(theirs))
    encoded = flax.serialization.to_bytes(theirs)
    assert serialization.to_bytes(ours) == encoded
    assert text(serialization.msgpack_restore(encoded)) == text(
        flax.serialization.msgpack_restore(encoded)
    )
    restored = flax.serialization.from_bytes(theirs, encoded)
    again = serialization.from_bytes(ours, encoded)
    assert text(again).replace("box.<locals>.", "") == text(restored).replace("box.<locals>.", "")
    assert serialization.to_bytes(again) == encoded


@settings(deadline=None)
@given(st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(st.text(max_size=2), x)))
@pytest.mark.parametrize("in_place", [True, False])
def test_msgpack_serialize_writes_the_same(in_place, tree):
    encoded = serialization.msgpack_serialize(tree, in_place=in_place)
    assert encoded == flax.serialization.msgpack_serialize(tree, in_place=in_place)


def test_times_and_durations():
    tree = {"t": np.array([1, 2], "M8[s]"), "d": np.timedelta64(3, "D")}
    encoded = serialization.to_bytes(tree)
    assert encoded == flax.serialization.to_bytes(tree)
    assert text(serialization.from_bytes(tree, encoded)) == text(tree)


@pytest.mark.parametrize("limit", [3, 10, 16, 64])
@settings(deadline=None, max_examples=50)
@given(tree=st.dictionaries(st.text(max_size=2), arrays | st.lists(arrays, max_size=2)))
def test_chunks_are_the_same(limit, tree):
    with pytest.MonkeyPatch.context() as patch:
        for module in (flax.serialization, serialization):
            patch.setattr(module, "MAX_CHUNK_SIZE", limit)
        for state in (tree, serialization.to_state_dict(tree)):
            encoded = serialization.msgpack_serialize(state)
            assert encoded == flax.serialization.msgpack_serialize(state)
            restored = text(serialization.msgpack_restore(encoded))
            assert restored == text(flax.serialization.msgpack_restore(encoded))
        whole = np.arange(20.0)
        assert serialization.msgpack_serialize(whole) == flax.serialization.msgpack_serialize(whole)


def test_flax_reads_a_typed_key_as_a_dict():
    key = jax.random.key(3)
    encoded = serialization.to_bytes({"key": key, "w": 1})
    with pytest.raises(TypeError):
        flax.serialization.to_bytes({"key": key, "w": 1})
    state = flax.serialization.from_bytes({"key": None, "w": 0}, encoded)
    np.testing.assert_array_equal(state["key"]["data"], jax.random.key_data(key))
    assert state["key"]["impl"] == "threefry2x32"


def test_named_tuples_of_old_files_and_partials():
    legacy = {"name": "Point", "fields": {"0": "x", "1": "y"}, "values": {"0": 7, "1": {"0": 8}}}
    partial = jax.tree_util.Partial(print, [1], k=2)
    state = {"args": {"0": {"0": 5}}, "keywords": {"k": 9}}
    for module in (flax.serialization, serialization):
        assert module.from_state_dict(Point(1, [2]), legacy) == Point(7, [8])
        assert module.to_state_dict(partial) == {"args": {"0": {"0": 1}}, "keywords": {"k": 2}}
        restored = module.from_state_dict(partial, state)
        assert (restored.func, restored.args, restored.keywords) == (print, ([5],), {"k": 9})


@pytest.mark.parametrize(
    ("target", "state"),
    [
        ({"a": 1, "b": 2}, {"a": 5}),
        ({"q": [1, 2]}, {"q": {"0": 1}}),
        ({"q": [1, 2]}, {"q": {"0": 1, "1": 2, "2": 3}}),
        (Point(1, 2), {"x": 3, "z": 5}),
        ("box", {"value": 3}),
        ("box", {"value": 3, "step": 4, "tag": "new"}),
        ({1: 1}, {1: 4}),
    ],
)
def test_what_raises_an_error_in_flax_raises_one_here(target, state):
    for module, cls in ((flax.serialization, TheirBox), (serialization, OurBox)):
        with pytest.raises(ValueError, match=r"\S"):
            module.from_state_dict(cls(1) if target == "box" else target, state)


def test_unknown_keys_of_a_dict_raise_an_error_where_flax_drops_them():
    assert flax.serialization.from_state_dict({"a": 1}, {"a": 5, "z": 2}) == {"a": 5}
    with pytest.raises(serialization.StateDictError, match=r"unknown field \./z"):
        serialization.from_state_dict({"a": 1}, {"a": 5, "z": 2})


def test_registration_and_paths():
    for module in (flax.serialization, serialization):

        class Meter:
            def __init__(self, total):
                self.total = total

        seen = []

        def restore(meter, state, module=module, seen=seen, cls=Meter):
            seen.append(module.current_path())
            return cls(module.from_state_dict(meter.total, state["total"], name="total"))

        handlers = (lambda m, module=module: {"total": module.to_state_dict(m.total)}, restore)
        module.register_serialization_state(Meter, *handlers)
        with pytest.raises(ValueError, match="already"):
            module.register_serialization_state(Meter, *handlers)
        module.register_serialization_state(Meter, *handlers, override=True)
        assert module.to_state_dict([Meter([1])]) == {"0": {"total": {"0": 1}}}
        restored = module.from_state_dict({"k": [Meter([1])]}, {"k": {"0": {"total": {"0": 9}}}})
        assert restored["k"][0].total == [9]
        assert seen == ["./k/0"]
        assert module.current_path() == ""


def test_is_serializable():
    for theirs, ours in ((TheirBox, OurBox), (TheirBox(1), OurBox(1))):
        assert flax.serialization.is_serializable(theirs) is serialization.is_serializable(ours)
    for target in (3, {}, [], (), None, "a", np.ones(2), jnp.ones(2), dict, object()):
        assert flax.serialization.is_serializable(target) is serialization.is_serializable(target)
    # Both write and read named tuples; Flax does not say so.
    assert not flax.serialization.is_serializable(Point(1, 2))
    assert serialization.is_serializable(Point(1, 2))
