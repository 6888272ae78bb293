"""Layers on a mesh whose axes are explicit, which test_sharded_training.py runs.

A contract over the tables of layers covers a split batch. These tests cover parameters that are
split as well, and user-defined functions and cells.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from linnet import linen as nn
from linnet import nnx

if not hasattr(jax, "set_mesh"):
    pytest.skip(
        f"jax {jax.__version__} lacks jax.set_mesh, which is new in jax 0.7.1",
        allow_module_level=True,
    )

KEY = jax.random.key(0)
AXES = ("data", "model")


def mesh_of(kind, shape=(4, 2)):
    return Mesh(np.array(jax.devices()).reshape(shape), AXES, axis_types=(kind, kind))


@pytest.fixture
def mesh():
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        yield mesh


def put(x, mesh, *entries):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*entries)))


def spec(x):
    return tuple(jax.typeof(x).sharding.spec)


def numbers(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dims", [(), (1,), (0,)])
@pytest.mark.parametrize("jit", [False, True])
def test_dropout_tosses_the_coins_of_one_device(dims, jit):
    x = numbers(8, 6)

    def linen(x):
        layer = nn.Dropout(0.5, broadcast_dims=dims, deterministic=False)
        return layer.apply({}, x, rngs={"dropout": KEY})

    def eager(x):
        return nnx.Dropout(0.5, broadcast_dims=dims, rngs=nnx.Rngs(0))(x)

    mesh = mesh_of(AxisType.Explicit)
    for call in (linen, eager):
        expected = call(jnp.asarray(x))
        with jax.set_mesh(mesh):
            y = (jax.jit(call) if jit else call)(put(x, mesh, "data"))
        assert spec(y) == ("data", None)
        np.testing.assert_array_equal(y, expected)


def split_kernel(*names):
    return nn.with_partitioning(nn.initializers.lecun_normal(), names)


def two_layers(first, second):
    return nn.Sequential(
        [
            nn.Dense(8, kernel_init=split_kernel(*first)),
            nn.relu,
            nn.Dense(4, kernel_init=split_kernel(*second)),
        ]
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((None, "model"), ("model", None)),  # Megatron: columns, then rows
        (("data", None), (None, "data")),  # kernels split over the axis of the batch
        (("data", "model"), ("model", "data")),
    ],
)
def test_dense_with_split_kernels(first, second, mesh):
    x = numbers(8, 4)
    model = two_layers(first, second)
    variables = nn.unbox(jax.jit(lambda: model.init(KEY, jnp.ones((8, 4))))())
    assert spec(variables["params"]["layers_2"]["kernel"]) == second
    y = model.apply(variables, put(x, mesh, "data"))
    assert spec(y) == ("data", None)
    gradient = jax.jit(jax.grad(lambda v, x: (model.apply(v, x) ** 2).sum()))(
        variables, put(x, mesh, "data")
    )
    assert spec(gradient["params"]["layers_0"]["kernel"]) == first
    alone = jax.tree.map(np.asarray, variables)
    with jax.set_mesh(mesh_of(AxisType.Auto)):
        np.testing.assert_allclose(y, jax.jit(model.apply)(alone, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("table", [(), ("model",), (None, "model"), (None, "data")])
def test_embed_with_a_split_table(table, mesh):
    embedding = numbers(8, 4)
    ids = np.arange(16).reshape(8, 2) % 8
    layer = nnx.Embed(8, 4, rngs=nnx.Rngs(0))
    layer.embedding = nnx.Param(put(embedding, mesh, *table))
    y = layer(put(ids, mesh, "data"))
    assert spec(y)[:2] == ("data", None)
    np.testing.assert_array_equal(y, embedding[ids])
    assert spec(layer.attend(y))[0] == "data"


def test_attention_with_split_heads(mesh):
    x = numbers(8, 6, 4)
    layer = nn.MultiHeadDotProductAttention(
        2,
        kernel_init=split_kernel(None, "model", None),
        use_bias=False,
        out_kernel_init=split_kernel("model", None, None),
    )
    mask = nn.make_causal_mask(jnp.ones((8, 6)))
    variables = nn.unbox(jax.jit(lambda: layer.init(KEY, jnp.ones((8, 6, 4))))())
    y = layer.apply(variables, put(x, mesh, "data"), mask=mask)
    assert spec(y) == ("data", None, None)
    alone = jax.tree.map(np.asarray, variables)
    with jax.set_mesh(mesh_of(AxisType.Auto)):
        expected = jax.jit(layer.apply)(alone, x, mask=np.asarray(mask))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


class Average(nn.RNNCellBase):
    """A user-defined cell, whose carry is not split at the beginning."""

    def __call__(self, carry, x):
        total, steps = carry
        carry = (total + x, steps + 1)
        return carry, carry[0] / carry[1]

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros(input_shape), jnp.zeros(())

    @property
    def num_feature_axes(self):
        return 1


@pytest.mark.parametrize(
    "cell", [nn.LSTMCell(3), nn.GRUCell(3), Average()], ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize("time_major", [False, True])
def test_sequences_of_different_lengths(cell, time_major, mesh):
    x = numbers(5, 8, 3) if time_major else numbers(8, 5, 3)
    lengths = np.arange(8) % 6
    carries = not isinstance(cell, Average)
    rnn = nn.RNN(cell, time_major=time_major, return_carry=carries, reverse=True, keep_order=True)
    batch = (None, "data") if time_major else ("data",)
    variables = jax.jit(rnn.init)(KEY, x)
    split = put(x, mesh, *batch)
    done = rnn.apply(variables, split, seq_lengths=lengths)
    y = done[1] if carries else done
    assert spec(y)[int(time_major)] == "data"
    with jax.set_mesh(mesh_of(AxisType.Auto)):
        whole = jax.tree.map(np.asarray, variables)
        expected = jax.jit(lambda v, x: rnn.apply(v, x, seq_lengths=lengths))(whole, x)
    for a, b in zip(jax.tree.leaves(done), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_decoding_with_a_split_batch(mesh):
    layer = nnx.MultiHeadAttention(2, 4, decode=True, rngs=nnx.Rngs(0))
    layer.init_cache((8, 3, 4))
    for _ in range(3):
        y = layer(put(numbers(8, 1, 4), mesh, "data"))
        assert spec(y)[0] == "data"


class Product(nn.Module):
    """Lets JAX choose how the product of two split arrays is split."""

    def __call__(self, x):
        return x @ x.T


class ProductOfNNX(nnx.Module):
    def __call__(self, x):
        return x @ x.T


@pytest.mark.parametrize("call", [lambda x: Product().apply({}, x), ProductOfNNX()])
def test_a_question_of_jax_s_comes_with_its_answers(call, mesh):
    x = put(numbers(8, 4), mesh, None, "model")
    with pytest.raises(Exception, match="sharded") as caught:
        call(x)
    assert any("jax.sharding.auto_axes" in note for note in caught.value.__notes__)
    layout = NamedSharding(mesh, PartitionSpec())
    y = jax.jit(jax.sharding.auto_axes(call, out_sharding=layout))(x)
    np.testing.assert_allclose(y, np.asarray(x) @ np.asarray(x).T, rtol=1e-5)


COLLECTIVE = re.compile(
    r" (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


# Like COLLECTIVE, but without the sums over devices that the gradient of a kernel needs.
MOVES = re.compile(COLLECTIVE.pattern.replace("all-reduce|", ""))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv(4, (3,), strides=2, padding="CAUSAL"), (3, 16, 6, 4)),
        (nn.Conv(4, (3, 2), padding="CIRCULAR", kernel_dilation=2), (3, 16, 6, 5, 2)),
        (nn.Conv(4, (3,), padding=[(2, 0)], feature_group_count=2), (2, 3, 16, 5, 4)),
        (nn.ConvTranspose(4, (3, 2), strides=(2, 1), padding="CIRCULAR"), (3, 16, 4, 3, 2)),
        (nn.ConvTranspose(4, (3,), strides=(2,), padding=[(1, 2)]), (3, 16, 4, 2)),
        (nn.ConvLocal(4, (3,), strides=2), (3, 16, 6, 4)),
        # Too many dimensions for a fast convolution: the first ones are merged.
        (nn.Conv(2, (2, 2, 1)), (16, 2, 2, 2, 3, 2)),
    ],
)
def test_convolutions_keep_the_split_of_any_batch_dimension(layer, shape, kind):
    x = numbers(*shape)
    variables = jax.jit(layer.init)(KEY, x)

    @jax.jit
    def program(variables, x):
        y, pull = jax.vjp(layer.apply, variables, x)
        return y, pull(y)

    expected = program(variables, x)
    before = shape.index(16)
    mesh = mesh_of(kind, (8, 1))
    with jax.set_mesh(mesh):
        arguments = put(variables, mesh), put(x, mesh, *(None,) * before, "data")
        compiled = program.lower(*arguments).compile()
        y, pulled = compiled(*arguments)
    assert tuple(y.sharding.spec)[: before + 1] == (*(None,) * before, "data")
    assert MOVES.findall(compiled.as_text()) == []
    for a, b in zip(jax.tree.leaves((y, pulled)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def of_all(f):
    return jax.grad(f, argnums=(0, 1, 2))


@pytest.mark.parametrize("transform", [lambda f: f, of_all], ids=["forward", "gradient"])
def test_chunked_attention_gathers_a_split_sequence_once(transform):
    mesh = mesh_of(AxisType.Auto, (2, 4))
    layout = NamedSharding(mesh, PartitionSpec("data", "model"))

    def collectives(implementation):
        def loss(q, k, v):
            y = nn.dot_product_attention(q, k, v, implementation=implementation)
            return jnp.sum(y**2)

        x = jax.ShapeDtypeStruct((4, 1024, 2, 8), np.float32, sharding=layout)
        text = jax.jit(transform(loss)).lower(x, x, x).compile().as_text()
        return len(COLLECTIVE.findall(text))

    assert collectives("chunked") <= collectives("exact")
