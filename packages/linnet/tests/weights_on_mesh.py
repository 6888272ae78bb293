"""Loading onto a mesh, which test_sharded_training.py runs."""

import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError, ShapeError
from linnet.module_core.weights.safetensors import Tensor
from linnet.weights import from_torch, load, save, to_torch

AXES = ("fsdp", "tp")
KINDS = [AxisType.Auto, AxisType.Explicit]
SPLITS = [("fsdp",), ("fsdp", "tp"), (None, "tp"), (("fsdp", "tp"),), (None, ("tp", "fsdp")), ()]
WEIGHT = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)


def mesh_of(kind):
    return Mesh(np.array(jax.devices()).reshape(4, 2), AXES, axis_types=(kind, kind))


def with_mesh(mesh):
    return jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else contextlib.nullcontext()


def same(array, expected, sharding):
    assert array.sharding.is_equivalent_to(sharding, array.ndim)
    for piece in array.addressable_shards:
        np.testing.assert_array_equal(np.asarray(piece.data), expected[piece.index])


@pytest.fixture
def read(monkeypatch):
    """The sizes of what is read from files, in elements."""
    sizes = []
    part = Tensor.part

    def counted(self, index):
        array = part(self, index)
        sizes.append(array.size)
        return array

    monkeypatch.setattr(Tensor, "part", counted)
    return sizes


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_a_file(tmp_path, read, kind, split, dtype):
    sharding = NamedSharding(mesh_of(kind), PartitionSpec(*split))
    path = tmp_path / "m.safetensors"
    save(path, {"w": WEIGHT})
    struct = jax.ShapeDtypeStruct(WEIGHT.shape, dtype, sharding=sharding)
    got = load(path, {"w": struct})["w"]
    assert got.dtype == dtype
    same(got, WEIGHT.astype(dtype), sharding)
    # Each piece is read once, and as a piece.
    assert sum(read) == WEIGHT.size
    assert max(read) == np.prod(sharding.shard_shape(WEIGHT.shape))
    layer = nnx.Linear(24, 16, use_bias=False, param_dtype=dtype, rngs=nnx.Rngs(0))
    turned = NamedSharding(sharding.mesh, PartitionSpec(*split[::-1]))
    layer.kernel.set_value(jax.device_put(jnp.zeros((24, 16), dtype), turned))
    from_torch(layer, {"weight": WEIGHT})
    same(layer.kernel[...], WEIGHT.T.astype(dtype), turned)
    np.testing.assert_array_equal(to_torch(layer)["weight"], WEIGHT.astype(dtype))


@pytest.mark.parametrize(("wasted", "band"), [(0, 1), (48, 100), (10**6, 1), (10**6, 300)])
def test_parts(tmp_path, monkeypatch, wasted, band):
    """Checks, for every part, whether its rows are read one by one or with their neighbors."""
    module = "linnet.module_core.weights.safetensors"
    monkeypatch.setattr(f"{module}._WASTED", wasted)
    monkeypatch.setattr(f"{module}._BAND", band)
    path = tmp_path / "m.safetensors"
    whole = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    save(path, {"before": np.zeros(7, np.int8), "w": whole, "scalar": np.float32(3)})
    tensors = load(path)
    assert tensors["scalar"].part(()) == 3
    cuts = [[slice(a, b) for a in range(n) for b in range(a + 1, n + 1)] for n in whole.shape]
    for index in itertools.product(*cuts):
        np.testing.assert_array_equal(tensors["w"].part(index), whole[index])
    assert tensors["w"].part((slice(0, 0), slice(0, 4), slice(0, 5))).shape == (0, 4, 5)


def linear(kernel_init=None):
    init = nnx.with_partitioning(kernel_init or nnx.initializers.ones, AXES)
    return nnx.Linear(24, 16, kernel_init=init, rngs=nnx.Rngs(0))


STATE = {"weight": WEIGHT, "bias": WEIGHT[:, 0].copy()}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("abstract", [False, True])
def test_a_module_whose_variables_name_their_axes(tmp_path, read, kind, abstract):
    mesh, path = mesh_of(kind), tmp_path / "m.safetensors"
    with with_mesh(mesh):
        make = lambda: nnx.eval_shape(linear) if abstract else linear()  # noqa: E731
        from_file, from_dict = make(), from_torch(make(), STATE)
        save(path, from_dict)
        load(path, from_file)
    for layer in (from_dict, from_file):
        np.testing.assert_array_equal(layer.kernel[...], WEIGHT.T)
        if hasattr(jax, "set_mesh"):
            same(layer.kernel[...], WEIGHT.T, NamedSharding(mesh, PartitionSpec(*AXES)))
    if hasattr(jax, "set_mesh"):
        assert max(read) < WEIGHT.size / 4


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_linen(kind):
    mesh = mesh_of(kind)
    sharding = NamedSharding(mesh, PartitionSpec(*AXES))
    whole = NamedSharding(mesh, PartitionSpec())
    struct = jax.ShapeDtypeStruct
    kernel = struct((24, 16), jnp.bfloat16, sharding=sharding)
    variables = {"params": {"kernel": kernel, "bias": struct((16,), jnp.float32, sharding=whole)}}
    got = from_torch(nn.Dense(16), STATE, variables=variables)["params"]
    same(got["kernel"], WEIGHT.T.astype(jnp.bfloat16), sharding)
    same(got["bias"], STATE["bias"], whole)


def refused(error, target, match, tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, {"bias": STATE["bias"], "kernel": WEIGHT.T})
    before = nnx.to_pure_dict(nnx.state(target))
    with pytest.raises(error, match=match):
        load(path, target)
    with pytest.raises(error, match=match):
        from_torch(target, STATE)
    after = nnx.to_pure_dict(nnx.state(target))
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, after))


def test_a_place_that_does_not_fit(tmp_path):
    """Nothing is replaced, not even the values before the one that doesn't fit."""
    abstract = AbstractMesh((4, 2), AXES)
    layer = nnx.eval_shape(lambda: nnx.Linear(24, 16, rngs=nnx.Rngs(0)))
    sharding = NamedSharding(abstract, PartitionSpec("fsdp"))
    layer.kernel.set_value(jax.ShapeDtypeStruct((24, 16), jnp.float32, sharding=sharding))
    refused(ArgumentError, layer, "kernel.* is on the abstract mesh", tmp_path)
    mesh = Mesh(np.array(jax.devices()[:5]), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    layer.kernel.set_value(jax.ShapeDtypeStruct((24, 16), jnp.float32, sharding=sharding))
    refused(ShapeError, layer, "kernel.* doesn't divide", tmp_path)


def test_keys_and_stacked_layers(tmp_path):
    mesh = mesh_of(AxisType.Auto)
    keys = jax.random.split(jax.random.key(3), 8)
    split = NamedSharding(mesh, PartitionSpec("fsdp"))
    path = tmp_path / "m.safetensors"
    save(path, {"keys": keys})
    got = load(path, {"keys": jax.device_put(jax.random.split(jax.random.key(0), 8), split)})
    assert got["keys"].sharding.is_equivalent_to(split, 1)
    np.testing.assert_array_equal(jax.random.key_data(got["keys"]), jax.random.key_data(keys))
    stack = nnx.Repeat(nnx.Linear, 4, 24, 24, use_bias=False, rngs=nnx.Rngs(0))
    three = NamedSharding(mesh, PartitionSpec("fsdp", None, "tp"))
    kernel = stack.block.kernel
    kernel.set_value(jax.device_put(kernel[...], three))
    layers = np.random.default_rng(1).normal(size=(4, 24, 24)).astype(np.float32)
    from_torch(stack, {f"{i}.weight": layer for i, layer in enumerate(layers)})
    same(kernel[...], layers.transpose(0, 2, 1), three)
