"""A stateful model on a mesh of eight devices; test_sharded_training.py runs these tests.

The batch is split over "data", the hidden layer over "model". Variables are laid out when they are
made, those of the optimizer follow them, and a step keeps every layout.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet import nnx

FEATURES, HIDDEN, BATCH = 8, 16, 16
RULES = (("embed", None), ("mlp", "model"))
X = np.random.default_rng(0).normal(size=(BATCH, FEATURES)).astype(np.float32)

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


def kernel(*names):
    return nnx.with_partitioning(nnx.initializers.lecun_normal(), names)


class Model(nnx.Module):
    def __init__(self, rngs):
        zeros = nnx.initializers.zeros_init()
        self.up = nnx.Linear(
            FEATURES,
            HIDDEN,
            kernel_init=kernel("embed", "mlp"),
            bias_init=nnx.with_partitioning(zeros, ("mlp",)),
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(HIDDEN, rngs=rngs)
        self.down = nnx.Linear(HIDDEN, FEATURES, kernel_init=kernel("mlp", "embed"), rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.relu(self.norm(self.up(x))))


def train(x, steps=3):
    model = Model(nnx.Rngs(0))
    # The first bias comes before a norm: its gradient is rounding error, which eps keeps small.
    optimizer = nnx.Optimizer(model, optax.adam(1e-2, eps=1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        loss, gradient = nnx.value_and_grad(lambda m: jnp.mean((m(x) - x) ** 2))(model)
        optimizer.update(model, gradient)
        return loss

    return model, optimizer, [float(step(model, optimizer, x)) for _ in range(steps)]


@pytest.fixture(scope="module")
def mesh():
    assert len(jax.devices()) == 8
    return Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


@pytest.fixture(scope="module")
def trained(mesh):
    with set_mesh(mesh), nnx.logical_axis_rules(RULES):
        x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
        return train(x)


def spec(value):
    return tuple(value.sharding.spec)


def test_training_equals_that_on_one_device(trained):
    model, _, losses = trained
    alone, _, expected = train(X)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] < losses[0]
    for (path, a), (_, b) in zip(
        nnx.to_flat_state(nnx.state(model)), nnx.to_flat_state(nnx.state(alone)), strict=True
    ):
        np.testing.assert_allclose(a[...], b[...], rtol=1e-4, atol=1e-5, err_msg=str(path))


def test_variables_and_moments_are_split_and_stay_so(trained):
    model, optimizer, _ = trained
    assert spec(model.up.kernel[...]) == (None, "model")
    assert spec(model.up.bias[...]) == ("model",)
    assert model.up.kernel[...].addressable_shards[0].data.shape == (FEATURES, HIDDEN // 2)
    moments = [
        v
        for path, v in nnx.to_flat_state(nnx.state(optimizer))
        if path[-3:] == ("mu", "up", "kernel")
    ]
    assert len(moments) == 1
    assert spec(moments[0][...]) == (None, "model")


def test_layouts_are_known_before_anything_is_made(mesh, trained):
    model, _, _ = trained
    with nnx.logical_axis_rules(RULES):
        specs = nnx.get_partition_spec(nnx.state(model))
        assert specs.up.kernel.raw_value == PartitionSpec(None, "model")
        assert specs.norm.scale.raw_value == PartitionSpec()
        shardings = nnx.get_named_sharding(nnx.state(model), mesh)
        assert shardings.down.kernel.raw_value.is_equivalent_to(
            NamedSharding(mesh, PartitionSpec("model", None)), 2
        )
        _, abstract = nnx.get_abstract_model(lambda: Model(nnx.Rngs(0)), mesh)
    kernel = abstract.up.kernel.raw_value
    assert isinstance(kernel, jax.ShapeDtypeStruct)
    assert kernel.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(None, "model")), 2)


def test_shardings_of_jit_by_filters(mesh):
    model = Model(nnx.Rngs(0))
    split = NamedSharding(mesh, PartitionSpec("data"))
    by_kind = nnx.StateSharding({nnx.Param: NamedSharding(mesh, PartitionSpec()), ...: None})
    call = nnx.jit(lambda m, x: m(x), in_shardings=(by_kind, split), out_shardings=split)
    y = call(model, X)
    assert y.sharding.is_equivalent_to(split, 2)
    assert len(model.up.kernel[...].sharding.device_set) == 8
    np.testing.assert_allclose(y, Model(nnx.Rngs(0))(X), rtol=1e-5, atol=1e-6)


def test_shard_map_over_the_batch(mesh):
    model = Model(nnx.Rngs(0))
    whole, split = PartitionSpec(), PartitionSpec("data")

    @nnx.shard_map(
        mesh=mesh, in_specs=(nnx.StateSharding({...: whole}), split), out_specs=(split, whole)
    )
    def call(m, x):
        return m.down(m.up(x)), jax.lax.psum(jnp.sum(x), "data")

    y, total = call(model, X)
    np.testing.assert_allclose(y, model.down(model.up(X)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(total, X.sum(), rtol=1e-5)


def test_vmap_with_names_of_layers(mesh):
    with set_mesh(mesh), nnx.logical_axis_rules((*RULES, ("layers", "data"))):

        @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
        def make(key):
            return nnx.Linear(
                FEATURES, HIDDEN, kernel_init=kernel("embed", "mlp"), rngs=nnx.Rngs(key)
            )

        layers = make(jax.random.split(jax.random.key(0), 4))
        assert layers.kernel.sharding_names == ("layers", "embed", "mlp")
        assert nnx.get_partition_spec(layers).kernel.raw_value == PartitionSpec(
            "data", None, "model"
        )
