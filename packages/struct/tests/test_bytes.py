"""Trees as bytes: what goes in comes out, and foreign bytes raise an error."""

import collections
import contextlib
import enum
import pickle
import sys

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linnet import struct
from linnet.struct import FrozenDict, serialization
from linnet.struct.serialization import (
    InvalidBytesError,
    NotSerializableError,
    from_bytes,
    msgpack_restore,
    msgpack_serialize,
    to_bytes,
)

NARROW = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4")
NUMBERS = (*"?bhilBHILefdFD", "M8[s]", "m8[ms]", *NARROW)

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
plain |= st.text(max_size=5) | st.binary(max_size=5) | st.complex_numbers(allow_nan=False)
arrays = hnp.arrays(
    st.sampled_from(["?", "i1", "u4", "f4", "f8", "c8"]), hnp.array_shapes(min_side=0)
)
trees = st.recursive(
    plain | arrays,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=15,
)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 16)


def same(a, b):
    """Whether two arrays agree in class, dtype, shape and every bit."""
    return (
        isinstance(a, np.ndarray) == isinstance(b, np.ndarray)
        and (a.dtype, a.shape) == (b.dtype, b.shape)
        and a.tobytes() == b.tobytes()
    )


@given(trees)
def test_what_goes_in_comes_out(tree):
    np.testing.assert_equal(msgpack_restore(msgpack_serialize(tree)), tree)
    np.testing.assert_equal(from_bytes(tree, to_bytes(tree)), tree)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3), (0, 3)])
def test_arrays_and_scalars_of_every_dtype(dtype, shape):
    size = int(np.prod(shape))
    array = np.arange(size).astype("i8").astype(np.dtype(dtype)).reshape(shape)
    restored = msgpack_restore(msgpack_serialize(array))
    assert same(restored, array)
    assert not restored.flags.writeable
    if size:
        scalar = array.reshape(-1)[-1]
        again = msgpack_restore(msgpack_serialize(scalar))
        assert type(again) is type(scalar)
        assert same(again, scalar)


def test_the_layout_in_memory_does_not_matter():
    array = np.arange(24, dtype="f4").reshape(2, 3, 4)
    for view in (array.T, array[:, ::-2], array.astype(">f4"), np.asfortranarray(array)):
        np.testing.assert_array_equal(msgpack_restore(msgpack_serialize(view)), view)
    big = np.float64(3.0).astype(">f8")
    assert msgpack_restore(msgpack_serialize(big)) == 3.0


def test_every_container():
    @struct.dataclass
    class Box:
        value: object
        tag: str = struct.field(pytree_node=False, default="t")

    Point = collections.namedtuple("Point", "x y")
    tree = {
        "box": Box([1, 2], "keep"),
        "point": Point(1j, (2.5, None)),
        "frozen": FrozenDict({"a": {"b": b"raw"}}),
        4: [True, "text"],
    }
    template = {
        "box": Box([0, 0], "keep"),
        "point": Point(0, (0, 0)),
        "frozen": FrozenDict({"a": {"b": 0}}),
        4: [0, 0],
    }
    assert from_bytes(template, to_bytes(tree)) == tree
    assert from_bytes(None, to_bytes(tree))["frozen"] == {"a": {"b": b"raw"}}


def test_jax_arrays_come_back_as_numpy_s():
    tree = {"w": jnp.ones((2, 3), jnp.bfloat16), "n": jnp.float32(3)}
    restored = from_bytes(tree, to_bytes(tree))
    for name, value in tree.items():
        assert type(restored[name]) is np.ndarray
        assert same(restored[name], np.asarray(value))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_typed_keys_survive(impl):
    key = jax.random.key(7, impl=impl)
    tree = {"key": key, "many": [jax.random.split(key, 3)], "raw": jax.random.key_data(key)}
    restored = from_bytes(tree, to_bytes(tree))
    for made, source in ((restored["key"], key), (restored["many"][0], tree["many"][0])):
        assert made.dtype == source.dtype
        assert made.shape == source.shape
        np.testing.assert_array_equal(jax.random.key_data(made), jax.random.key_data(source))
    np.testing.assert_array_equal(
        jax.random.uniform(restored["key"], (2,)), jax.random.uniform(key, (2,))
    )
    assert restored["raw"].dtype == np.uint32


# Order.


def test_to_bytes_keeps_the_order_of_keys_and_msgpack_serialize_sorts_them():
    tree = {"b": 1, "a": {"d": 2, "c": 3}}
    kept, is_sorted = bytes.fromhex("82a16201a16182a16402a16303"), "82a16182a16303a16402a16201"
    assert to_bytes(tree) == msgpack_serialize(tree, in_place=True) == kept
    assert msgpack_serialize(tree) == bytes.fromhex(is_sorted)
    assert list(msgpack_restore(msgpack_serialize({"b": 1, 0: 2}))) == ["b", 0]


# Chunks.


@pytest.mark.parametrize("dtype", ["f4", "c16", "i1", "bfloat16"])
@pytest.mark.parametrize("shape", [(2, 5), (17,), (1,) * 11 + (5,)])
def test_large_arrays_are_written_in_chunks(small_chunks, dtype, shape):
    array = np.arange(np.prod(shape)).astype(np.dtype(dtype)).reshape(shape)
    tree = {"a": {"b": array}, "j": jnp.asarray(array) if dtype != "c16" else 0}
    encoded = to_bytes(tree)
    chunks = msgpack.unpackb(encoded)["a"]["b"]
    if array.nbytes > 16:
        assert chunks["__msgpack_chunked_array__"] is True
        assert chunks["shape"] == {str(i): n for i, n in enumerate(shape)}
        assert len(chunks["chunks"]) == -(-array.nbytes // 16)
    restored = from_bytes(tree, encoded)
    assert same(restored["a"]["b"], array)
    np.testing.assert_array_equal(np.asarray(restored["j"]), np.asarray(tree["j"]))
    assert same(msgpack_restore(msgpack_serialize(array)), array)


def test_an_array_of_just_the_limit_is_whole(small_chunks):
    encoded = to_bytes({"a": np.arange(4, dtype="f4")})
    assert isinstance(msgpack.unpackb(encoded)["a"], msgpack.ExtType)


def test_a_limit_below_one_element_gives_chunks_of_one(monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 3)
    array = np.arange(3, dtype="f4")
    encoded = to_bytes({"a": array})
    assert len(msgpack.unpackb(encoded)["a"]["chunks"]) == 3
    assert same(from_bytes({"a": 0.0}, encoded)["a"], array)


def test_keys_are_chunked_too(small_chunks):
    keys = jax.random.split(jax.random.key(1), 5)
    restored = from_bytes({"k": keys}, to_bytes({"k": keys}))["k"]
    np.testing.assert_array_equal(jax.random.key_data(restored), jax.random.key_data(keys))


def test_in_lists_only_what_no_extension_holds_is_in_chunks(small_chunks, monkeypatch):
    array = np.arange(10, dtype="f4")
    assert isinstance(msgpack.unpackb(msgpack_serialize([array]))[0], msgpack.ExtType)
    monkeypatch.setattr(serialization, "_LARGEST_EXTENSION", 32)
    encoded = msgpack_serialize([array])
    assert "chunks" in msgpack.unpackb(encoded)[0]
    assert same(msgpack_restore(encoded)[0], array)


def test_the_limit_is_that_of_the_format():
    assert serialization.MAX_CHUNK_SIZE == 2**30


@pytest.mark.parametrize("in_place", [True, False])
def test_the_tree_is_not_changed(small_chunks, in_place):
    inner = {"d": jnp.arange(10.0)}
    tree = {"a": np.arange(10, dtype="f4"), "c": inner, "l": [inner]}
    parts = [tree["a"], inner["d"], inner, tree["l"]]
    msgpack_serialize(tree, in_place=in_place)
    assert [tree["a"], tree["c"]["d"], tree["c"], tree["l"]] == [
        pytest.approx(part) if isinstance(part, np.ndarray | jax.Array) else part for part in parts
    ]
    assert (tree["a"] is parts[0], inner["d"] is parts[1]) == (True, True)


# What cannot be serialized.


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("leaf", "what"),
    [
        (object(), "objects of class object cannot be serialized"),
        ({1}, "objects of class set cannot be serialized"),
        (range(3), "objects of class range cannot be serialized"),
        (Color.RED, "objects of class Color cannot be serialized"),
        (collections.OrderedDict(a=1), "objects of class OrderedDict cannot be serialized"),
        (
            jax.ShapeDtypeStruct((1,), "f4"),
            "objects of class ShapeDtypeStruct cannot be serialized",
        ),
        (2**64, "the integer 18446744073709551616 does not fit into 64 bits"),
        (-(2**63) - 1, "does not fit into 64 bits"),
        (np.array(["ab"]), "an array of dtype <U2 cannot be serialized"),
        (np.array([b"ab"]), "an array of dtype |S2 cannot be serialized"),
        (np.array([object()]), "an array of dtype object cannot be serialized"),
        (np.zeros(2, "f4,i4"), "cannot be serialized"),
        (np.str_("x"), "an array of dtype <U1 cannot be serialized"),
        (np.ma.array([1], mask=[True]), "a masked array cannot be serialized"),
    ],
    ids=lambda x: type(x).__name__ if not isinstance(x, str) else "",
)
def test_what_cannot_be_written_is_named_with_its_path(leaf, what):
    with pytest.raises(NotSerializableError) as caught:
        to_bytes({"a": [0, {"b": leaf}]})
    assert str(caught.value).startswith("./a/1/b: ")
    assert what in str(caught.value)


@pytest.mark.parametrize("container", [(1, 2), FrozenDict(a=1)])
def test_msgpack_serialize_points_to_to_state_dict(container):
    with pytest.raises(NotSerializableError, match="to_state_dict") as caught:
        msgpack_serialize({"a": container})
    assert str(caught.value).startswith(f"./a: objects of class {type(container).__name__} ")


def test_keys_that_cannot_be_written():
    with pytest.raises(NotSerializableError, match=r"\.: the key \(1, 2\) of a dict"):
        msgpack_serialize({(1, 2): 3})
    for marker in ("__msgpack_chunked_array__", "__msgpack_prng_key__"):
        with pytest.raises(NotSerializableError, match=rf"\./a: the key '{marker}' is reserved"):
            to_bytes({"a": {marker: 1}})


def test_trees_that_are_too_deep():
    tree = []
    for _ in range(5000):  # deeper than Python or msgpack allows
        tree = [tree]
    with pytest.raises(NotSerializableError, match="the tree cannot be serialized"):
        msgpack_serialize(tree)


# What cannot be read.

ENCODED = to_bytes({"a": jnp.ones(2), "b": 3, "k": jax.random.key(0), "c": 1j})


def test_every_truncation_raises_an_error():
    target = msgpack_restore(ENCODED)
    for end in range(len(ENCODED)):
        with pytest.raises(InvalidBytesError, match=f"^{end} bytes? cannot be read as a tree"):
            from_bytes(target, ENCODED[:end])


def extension(code, *content):
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb(content)))


def key_with(impl, shape, dtype):
    data = msgpack.ExtType(1, msgpack.packb((shape, dtype, bytes(4 * shape[0]))))
    return msgpack.packb({"__msgpack_prng_key__": True, "impl": impl, "data": data})


@pytest.mark.parametrize(
    "foreign",
    [
        b"hello",
        b"\xc1 never used",
        b"PK\x03\x04 zip",
        ENCODED + b"more",
        pickle.dumps({"a": 1}),
        (8).to_bytes(8, "little") + b'{"a": 1}',  # safetensors
        msgpack.packb(msgpack.ExtType(1, b"abc")),
        msgpack.packb(msgpack.ExtType(1, b"")),
        msgpack.packb({"a": [1]})[:-1] + b"\x91" * 3000,
        b"\x91" * 3000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",  # a list that claims 2**32 - 1 items
        extension(1, [2], "float32", b"abc"),
        extension(1, [2], "float32", b"12345678", 1),
        extension(1, 3, "float32", b""),
        extension(1, [-1], "float32", b""),
        extension(1, [1.0], "float32", b"1234"),
        extension(1, [True], "int8", b"1"),
        extension(1, [1], "object", b"12345678"),
        extension(1, [1], "O", b"12345678"),
        extension(1, [1], "f4,i4", b"12345678"),
        extension(1, [1], "void64", b"12345678"),
        extension(1, [1], ">f4", b"1234"),
        extension(1, [1], "f4", b"1234"),
        extension(1, [1], "os.system", b"1234"),
        extension(1, [1], 4, b"1234"),
        extension(1, [1], "float32", "text"),
        extension(1, [0, 2**62], "float32", b""),
        extension(1, *[[1], "float32"]),
        extension(2, 1.0),
        extension(2, "a", "b"),
        extension(3, [], "float32", b""),
        msgpack.packb({"__msgpack_chunked_array__": True}),
        msgpack.packb({"__msgpack_chunked_array__": True, "shape": {}, "chunks": {}}),
        msgpack.packb({"__msgpack_chunked_array__": True, "shape": {"0": 1}, "chunks": {"1": 1}}),
        msgpack.packb({"__msgpack_chunked_array__": True, "shape": {"0": 1}, "chunks": {"0": 1}}),
        msgpack.packb({"__msgpack_prng_key__": True}),
        msgpack.packb({"__msgpack_prng_key__": True, "impl": "no such", "data": [1]}),
        key_with("no such", [2], "uint32"),
        key_with("threefry2x32", [3], "uint32"),
        key_with("threefry2x32", [2], "float32"),
    ],
)
def test_foreign_bytes_get_one_clear_error(foreign):
    target = {"a": 1}
    with pytest.raises(InvalidBytesError) as caught:
        from_bytes(target, foreign)
    first, hint = str(caught.value).splitlines()
    assert first.startswith(f"{len(foreign)} bytes cannot be read as a tree: ")
    assert hint == "  Is the file truncated, or was it written by another program?"
    assert target == {"a": 1}


@given(st.binary(max_size=60))
def test_any_bytes_give_a_tree_or_that_error(data):
    try:
        tree = msgpack_restore(data)
    except InvalidBytesError:
        return
    allowed = (bool, int, float, complex, str, bytes, list, dict, np.ndarray, np.generic)
    assert tree is None or isinstance(tree, (*allowed, msgpack.Timestamp))


@given(st.integers(0, len(ENCODED) - 1), st.integers(0, 255))
def test_a_damaged_byte_gives_a_tree_or_that_error(position, value):
    damaged = bytearray(ENCODED)
    damaged[position] = value
    with contextlib.suppress(InvalidBytesError):
        msgpack_restore(bytes(damaged))  # anything else that it raises fails the test


def test_loading_runs_nothing(monkeypatch):
    def no(*args, **kwargs):
        raise AssertionError("something was run")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, no)
    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(f"builtins.{name}", no)
    assert set(msgpack_restore(ENCODED)) == {"a", "b", "c", "k"}
    with pytest.raises(InvalidBytesError):
        msgpack_restore(extension(1, [1], "object", b"12345678"))


def test_the_bytes_of_a_different_structure_name_all_differences():
    with pytest.raises(serialization.StateDictError) as caught:
        from_bytes({"a": 0, "x": 1, "y": 2}, to_bytes({"a": 1, "z": 3}))
    assert caught.value.missing == ("./x", "./y")
    assert caught.value.unknown == ("./z",)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_anything_with_bytes_can_be_read(wrap):
    assert msgpack_restore(wrap(to_bytes({"a": 1}))) == {"a": 1}


@pytest.mark.parametrize("other", ["text", 3, None, {"a": 1}])
def test_anything_but_bytes_raises_an_error(other):
    with pytest.raises(TypeError, match=f"expected bytes, got {type(other).__name__}"):
        msgpack_restore(other)


def test_without_msgpack_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    for function, argument in ((to_bytes, {}), (msgpack_restore, b"\x80")):
        with pytest.raises(ImportError, match="needs msgpack, which is not installed") as caught:
            function(argument)
        assert 'pip install "linnet-struct[msgpack]"' in str(caught.value)
    assert serialization.to_state_dict([1]) == {"0": 1}


def test_times_and_extensions_of_other_programs_pass_through():
    tree = {"at": msgpack.Timestamp(7, 5), "other": msgpack.ExtType(42, b"ab"), "n": [1]}
    encoded = serialization.msgpack_serialize(tree)
    assert encoded == msgpack.packb(dict(sorted(tree.items())))
    assert serialization.msgpack_restore(encoded) == tree
    assert serialization.from_bytes(None, serialization.to_bytes({"at": tree["at"]})) == {
        "at": tree["at"]
    }
    with pytest.raises(serialization.InvalidBytesError, match="code must be"):
        serialization.msgpack_restore(b"\xd4\xfe\x00")
    with pytest.raises(serialization.InvalidBytesError, match="(?i)timestamp"):
        serialization.msgpack_restore(b"\xd4\xff\x00")


def test_a_class_says_what_to_write_instead():
    class Table:
        _serialization_hint = "Write to_bytes(table.rows)."

    with pytest.raises(serialization.NotSerializableError, match="Write to_bytes\\(table.rows\\)"):
        serialization.to_bytes({"a": Table()})
