"""Safetensors files: what is saved can be loaded, and any other file raises an error."""

import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import bits, identical
from linnet import nnx
from linnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from linnet.module_core.weights.safetensors import DTYPES
from linnet.weights import from_torch, load, save

FLOAT8 = jnp.float8_e4m3fn


def tree():
    return {
        "params": {
            "kernel": jnp.arange(6.0).reshape(2, 3),
            "half": jnp.arange(3, dtype=jnp.bfloat16),
            "eighth": jnp.arange(3, dtype=FLOAT8),
            "empty": jnp.zeros((0, 3)),
            "scalar": jnp.float32(2),
        },
        "keys": [jax.random.key(3), jax.random.split(jax.random.key(4, impl="rbg"), 2)],
        "step": 7,
        "rate": 0.5,
        "done": True,
        "host": np.arange(4, dtype=np.int64),
    }


def other(value):
    if isinstance(value, bool | int | float):
        return type(value)(0)
    if isinstance(value, np.ndarray):
        return np.zeros_like(value)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    return jnp.zeros_like(value)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_dtypes(tmp_path, dtype):
    path = tmp_path / "m.safetensors"
    value = np.arange(6).reshape(2, 3).astype(dtype)
    save(path, {"w": value})
    got = np.asarray(load(path)["w"])
    assert (got.dtype, got.tobytes()) == (value.dtype, value.tobytes())


@pytest.mark.parametrize("most", [None, 20, 1])
def test_tree(tmp_path, most):
    path = tmp_path / "model.safetensors"
    save(path, tree(), max_shard_bytes=most)
    got = load(tmp_path, jax.tree.map(other, tree()))
    assert jax.tree.structure(got) == jax.tree.structure(tree())
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(tree()), strict=True):
        assert type(a) is type(b)
        if not isinstance(b, bool | int | float):
            assert (a.dtype, a.shape, bits(a)) == (b.dtype, b.shape, bits(b))
    shards = {None: 1, 20: 7, 1: 11}[most]
    assert len(list(tmp_path.glob("*.safetensors"))) == shards
    assert not list(tmp_path.glob("*.partial"))


def test_module(tmp_path):
    path = tmp_path / "m.safetensors"
    make = lambda seed: nnx.Sequential(  # noqa: E731
        nnx.Linear(2, 3, rngs=nnx.Rngs(seed)),
        nnx.BatchNorm(3, rngs=nnx.Rngs(seed)),
        nnx.Dropout(0.5, rngs=nnx.Rngs(seed)),
    )
    one, two = make(0), make(1)
    save(path, one)
    assert load(path, two) is two
    for (a_path, a), (b_path, b) in zip(
        nnx.to_flat_state(nnx.state(two)), nnx.to_flat_state(nnx.state(one)), strict=True
    ):
        assert a_path == b_path
        assert bits(a.get_value()) == bits(b.get_value())
    abstract = nnx.eval_shape(lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    save(path, one.layers[0])
    identical(load(path, abstract).kernel[...], one.layers[0].kernel[...])
    state = nnx.state(one.layers[0])
    save(path, state)
    back = load(path, jax.tree.map(jnp.zeros_like, state))
    identical(nnx.to_pure_dict(back), nnx.to_pure_dict(state))


def test_casts_and_shards(tmp_path):
    path = tmp_path / "m.safetensors"
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    save(path, {"w": np.arange(4.0, dtype=np.float32)})
    got = load(path, {"w": jax.ShapeDtypeStruct((4,), jnp.bfloat16, sharding=sharding)})["w"]
    assert got.dtype == jnp.bfloat16
    assert got.sharding == sharding


def test_a_state_dict_is_read_as_it_is_needed(tmp_path):
    path = tmp_path / "m.safetensors"
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    save(path, {"weight": weight.astype(jnp.bfloat16), "bias": np.ones(3, np.float32)})
    layer = from_torch(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), load(path))
    identical(np.asarray(layer.kernel[...]), weight.T.copy())


def test_the_library_reads_and_writes_the_same(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "m.safetensors"
    tensors = {"a.b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.int64([1, 2])}
    save(path, tensors, metadata={"format": "pt"})
    identical(library.load_file(path), tensors)
    library.save_file(tensors, path)
    identical({k: np.asarray(v) for k, v in load(path).items()}, tensors)


def written(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


BAD = {
    "2^60 bytes": (lambda p: p.write_bytes((2**60).to_bytes(8, "little") + b"{}"), "1152921504"),
    "short": (lambda p: p.write_bytes(b"abc"), "not a safetensors file"),
    "not json": (lambda p: written(p, b"{nope}"), "isn't JSON"),
    "deep": (lambda p: written(p, b"[" * 100_000), "isn't JSON"),
    "list": (lambda p: written(p, b"[]"), "isn't a mapping"),
    "twice": (lambda p: written(p, b'{"w": 1, "w": 2}'), "'w' twice"),
    "no entry": (lambda p: written(p, {"w": 1}), "'w' must have"),
    "dtype": (lambda p: written(p, {"w": entry("F31")}, b"\0" * 8), "dtype 'F31'"),
    "negative": (lambda p: written(p, {"w": entry(shape=(-2,))}, b"\0" * 8), "at least 0"),
    "size": (lambda p: written(p, {"w": entry(shape=(3,))}, b"\0" * 8), "needs 12"),
    "cut off": (lambda p: written(p, {"w": entry()}, b"\0" * 7), "cut off"),
    "longer": (lambda p: written(p, {"w": entry()}, b"\0" * 9), "longer"),
    "hole": (lambda p: written(p, {"w": entry(offsets=(4, 12))}, b"\0" * 12), "expected 0"),
    "overlap": (lambda p: written(p, {"w": entry(), "v": entry()}, b"\0" * 8), "begins at byte 0"),
    "metadata": (lambda p: written(p, {"__metadata__": {"a": 1}}), "__metadata__"),
    "missing": (lambda p: None, "no file"),
    "zip": (lambda p: zipfile.ZipFile(p, "w").writestr("data.pkl", b""), "zip archive"),
    "empty": (lambda p: p.write_bytes(b""), "not a safetensors file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(tmp_path, name):
    make, message = BAD[name]
    path = tmp_path / "m.safetensors"
    make(path)
    target = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    before = bits(target.kernel[...])
    with pytest.raises(ArgumentError, match=message) as caught:
        load(path, target)
    assert "m.safetensors" in str(caught.value)
    assert bits(target.kernel[...]) == before


def test_bad_index(tmp_path):
    save(tmp_path / "model.safetensors", {"a": np.ones(2), "b": np.ones(2)}, max_shard_bytes=1)
    index = tmp_path / "model.safetensors.index.json"
    assert sorted(load(index)) == ["a", "b"]
    good = index.read_text()
    index.write_text(good.replace("model-00001", "../model-00001"))
    with pytest.raises(ArgumentError, match="its own folder"):
        load(index)
    index.write_text(good.replace('"a"', '"c"'))
    with pytest.raises(ArgumentError, match="doesn't have it"):
        load(index)
    index.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    assert sorted(load(index)) == ["a"]
    index.write_text(good)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ArgumentError, match=r"model-00002-of-00002.safetensors is missing"):
        load(tmp_path)


def test_another_target(tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, {"kernel": np.ones((2, 3), np.float32), "n": np.int32([1])})
    struct = jax.ShapeDtypeStruct
    fits = {"kernel": struct((2, 3), jnp.float32), "n": struct((1,), jnp.int32)}
    assert load(path, fits)["n"].dtype == jnp.int32
    with pytest.raises(ArgumentError, match=r"no tensor 'kernle'.*\n.*no place for 'kernel'"):
        load(path, {"kernle": fits["kernel"], "n": fits["n"]})
    with pytest.raises(ShapeError, match=r"shape \(2, 3\), expected \(3, 2\)"):
        load(path, fits | {"kernel": struct((3, 2), jnp.float32)})
    with pytest.raises(DtypeError, match="'n' has dtype int32, expected float32"):
        load(path, fits | {"n": struct((1,), jnp.float32)})
    with pytest.raises(DtypeError, match="'n' is not a key, expected key<"):
        load(path, fits | {"n": jax.random.split(jax.random.key(0), 1)})


def test_bad_values(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ArgumentTypeError, match="'a' is a str"):
        save(path, {"a": "text"})
    with pytest.raises(ArgumentError, match="'a' has dtype int4"):
        save(path, {"a": jnp.zeros(2, jnp.int4)})
    with pytest.raises(ArgumentError, match="Two values of the tree are called 'a/b'"):
        save(path, {"a": {"b": 1}, "a/b": 2})
    with pytest.raises(ArgumentError, match="max_shard_bytes=0"):
        save(path, {"a": 1}, max_shard_bytes=0)
    assert not list(tmp_path.iterdir())
