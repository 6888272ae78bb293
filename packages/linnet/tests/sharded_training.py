"""A transformer on a mesh of eight devices; test_sharded_training.py runs these tests.

Batches are split over "data"; heads and the hidden layer of the MLP over "model" (Shoeybi et al.
2019, arXiv:1909.08053): each block then needs one sum over "model" after its attention, and one
after its MLP.
"""

import functools
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import linnet.linen as nn

LAYERS, VOCABULARY, EMBED, HEADS, MLP = 3, 32, 16, 4, 64
BATCH, TIME = 8, 6
RULES = (("batch", "data"), ("heads", "model"), ("mlp", "model"), ("layers", None), ("embed", None))
SPLIT_VALUES = {"heads", "mlp"}

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


def kernel(*names):
    return nn.with_logical_partitioning(nn.initializers.lecun_normal(), names)


def vector(*names):
    return nn.with_logical_partitioning(nn.initializers.zeros, names)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
        scale = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
        norm = functools.partial(nn.LayerNorm, use_bias=False, scale_init=scale)
        x = nn.with_logical_constraint(x, ("batch", None, "embed"))
        x = x + nn.MultiHeadDotProductAttention(
            num_heads=HEADS,
            kernel_init=kernel("embed", "heads", "head"),
            bias_init=vector("heads", "head"),
            out_kernel_init=kernel("heads", "head", "embed"),
            out_bias_init=vector("embed"),
        )(norm()(x), mask=mask)
        hidden = nn.Dense(MLP, kernel_init=kernel("embed", "mlp"), bias_init=vector("mlp"))(
            norm()(x)
        )
        hidden = nn.with_logical_constraint(nn.relu(hidden), ("batch", None, "mlp"))
        return x + nn.Dense(EMBED, kernel_init=kernel("mlp", "embed"), bias_init=vector("embed"))(
            hidden
        ), None


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embedding = nn.with_logical_partitioning(
            nn.initializers.normal(1.0), ("vocabulary", "embed")
        )
        embed = nn.Embed(VOCABULARY, EMBED, embedding_init=embedding)
        blocks = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=LAYERS,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        x, _ = blocks(name="blocks")(embed(tokens), nn.make_causal_mask(tokens))
        return embed.attend(x)


model = Transformer()
rng = np.random.default_rng(0)
TOKENS = rng.integers(0, VOCABULARY, (BATCH, TIME + 1), dtype=np.int32)


def init(key):
    return model.init(key, jnp.zeros((BATCH, TIME), jnp.int32))["params"]


def loss(params, tokens):
    logits = model.apply({"params": params}, tokens[:, :-1])
    chosen = jnp.take_along_axis(nn.log_softmax(logits), tokens[:, 1:, None], axis=-1)
    return -jnp.mean(chosen)


def step(params, tokens):
    value, gradients = jax.value_and_grad(loss)(params, tokens)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), value


@pytest.fixture(scope="module")
def mesh():
    assert len(jax.devices()) == 8
    return Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


@pytest.fixture(scope="module")
def shardings(mesh):
    specs = nn.get_partition_spec(jax.eval_shape(init, jax.random.key(0)))
    return nn.logical_to_mesh_sharding(specs, mesh, RULES)


@pytest.fixture(scope="module")
def one_device():
    """The initial parameters, the parameters after a step, and the loss, without a mesh."""
    params = jax.jit(init)(jax.random.key(0))
    return params, *jax.jit(step)(params, TOKENS)


@pytest.fixture(scope="module")
def sharded(mesh, shardings):
    with set_mesh(mesh), nn.logical_axis_rules(RULES):
        return jax.jit(init, out_shardings=shardings)(jax.random.key(0))


@pytest.fixture(scope="module")
def compiled_step(mesh, sharded, shardings):
    with set_mesh(mesh), nn.logical_axis_rules(RULES):
        program = jax.jit(step, out_shardings=(shardings, None))
        return program.lower(sharded, on_mesh(mesh)).compile()


def on_mesh(mesh):
    return jax.device_put(TOKENS, NamedSharding(mesh, PartitionSpec("data")))


def collectives(compiled):
    """How often each collective operation occurs in the compiled program; loops count once."""
    names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    return Counter(re.findall(rf" ({names})(?:-start)?\(", compiled.as_text()))


def boxes(tree):
    found = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
    )[0]
    return [(jax.tree_util.keystr(path), box) for path, box in found]


def test_every_parameter_is_named_and_scan_adds_its_axis():
    shapes = boxes(jax.eval_shape(init, jax.random.key(0)))
    assert len(shapes) == 1 + 2 + 8 + 4  # embedding, norms, attention, MLP
    for path, box in shapes:
        assert len(box.names) == box.value.ndim, path
        assert (box.names[0] == "layers") == ("blocks" in path)
        assert box.names[0] != "layers" or box.value.shape[0] == LAYERS


def test_parameters_are_made_where_they_belong(sharded, shardings, one_device):
    split = 0
    for (path, box), (_, whole) in zip(boxes(sharded), boxes(one_device[0]), strict=True):
        splits = [2 if name in SPLIT_VALUES else 1 for name in box.names]
        expected = tuple(n // s for n, s in zip(box.value.shape, splits, strict=True))
        assert {s.data.shape for s in box.value.addressable_shards} == {expected}, path
        np.testing.assert_array_equal(box.value, whole.value, err_msg=path)
        split += 2 in splits
    assert split == 3 * 2 + 1 + 2 + 1  # kernels and biases of q, k, v and the first Dense; two out
    assert jax.tree.structure(sharded) == jax.tree.structure(one_device[0])
    for box, sharding in zip(jax.tree.leaves(sharded), jax.tree.leaves(shardings), strict=True):
        assert box.sharding.is_equivalent_to(sharding, box.ndim)


def test_a_step_gives_what_it_gives_on_one_device(mesh, sharded, compiled_step, one_device):
    _, expected, expected_loss = one_device
    params, value = compiled_step(sharded, on_mesh(mesh))
    np.testing.assert_allclose(value, expected_loss, rtol=1e-5)
    moved = 0.0
    for (path, new), (_, want), (_, old) in zip(
        boxes(params), boxes(expected), boxes(sharded), strict=True
    ):
        assert new.names == want.names
        np.testing.assert_allclose(new.value, want.value, rtol=1e-4, atol=1e-6, err_msg=path)
        moved = max(moved, float(np.abs(np.asarray(new.value) - np.asarray(old.value)).max()))
    assert moved > 1e-3


def test_collectives_of_the_forward_pass(mesh, sharded):
    def forward(params, tokens):
        return model.apply({"params": params}, tokens)

    with set_mesh(mesh), nn.logical_axis_rules(RULES):
        compiled = jax.jit(forward).lower(sharded, on_mesh(mesh)[:, :-1]).compile()
    # In the loop's single body: after the attention, and after the MLP.
    assert collectives(compiled) == {"all-reduce": 2}


def test_collectives_of_a_step(sharded, compiled_step):
    found = collectives(compiled_step)
    # Only sums: parameters and activations stay where they are. There is at most one sum for each
    # gradient, two in the block's forward pass, two in its backward pass, and those of the loss and
    # its normalization. Newer versions of XLA join most of them.
    assert set(found) == {"all-reduce"}
    assert 4 <= found["all-reduce"] <= len(jax.tree.leaves(sharded)) + 8


def test_without_rules_for_the_model_axis_there_is_nothing_to_send(mesh):
    rules = (("batch", "data"),)
    shapes = jax.eval_shape(init, jax.random.key(0))
    replicated = nn.logical_to_mesh_sharding(nn.get_partition_spec(shapes), mesh, rules)

    def placed(sharding, box):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), box
        )

    params = jax.tree.map(placed, replicated, shapes)
    with set_mesh(mesh), nn.logical_axis_rules(rules):
        forward = jax.jit(lambda p, t: model.apply({"params": p}, t))
        compiled = forward.lower(params, on_mesh(mesh)[:, :-1]).compile()
    assert not collectives(compiled)


def test_constraints_say_nothing_without_a_mesh():
    with nn.logical_axis_rules(RULES):
        program = jax.make_jaxpr(init)(jax.random.key(0))
    assert "sharding_constraint" not in str(program)
