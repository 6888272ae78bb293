"""The warning about a mesh that is not set, on eight devices, which test_devices.py runs."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet.module_core import forgotten_mesh, linen, nnx, sharding
from linnet.module_core.errors import ArgumentError

P = PartitionSpec
DEVICES = np.array(jax.devices()).reshape(-1, 2 if len(jax.devices()) > 1 else 1)
MESH = Mesh(DEVICES, ("data", "model"))
RULES = (("in", None), ("out", "model"))
X = jnp.ones((2, 8))

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


@pytest.fixture(autouse=True)
def none_so_far(monkeypatch):
    monkeypatch.setattr(forgotten_mesh, "_given", False)


def kernel():
    return nnx.Param(jnp.ones((8, 4)), out_sharding=(None, "model"))


class Dense(linen.Module):
    logical: bool = False

    @linen.compact
    def __call__(self, x):
        ones = jax.nn.initializers.ones
        init = linen.with_partitioning(ones, (None, "model"))
        if self.logical:
            init = linen.with_logical_partitioning(ones, ("in", "out"))
        return x @ self.param("kernel", init, (8, 4))


def apply(logical=False):
    module = Dense(logical)
    variables = jax.jit(module.init)(jax.random.key(0), X)
    module.apply(variables, X)


def logical():
    with linen.logical_axis_rules(RULES):
        apply(logical=True)


def optimizer_of_what_jit_made():
    nnx.Optimizer(nnx.jit(lambda: nnx.Dict(w=kernel()))(), optax.adam(1e-3), wrt=nnx.Param)


FORGOTTEN = {
    "nnx": kernel,
    "nnx, in jit": optimizer_of_what_jit_made,
    "linen, init": lambda: Dense().init(jax.random.key(0), X),
    "linen, apply": apply,
    "linen, logical": logical,
}


@pytest.mark.parametrize("program", FORGOTTEN.values(), ids=FORGOTTEN.keys())
def test_a_forgotten_mesh_is_noticed_once(program, caplog):
    for again in (program, program, kernel):
        again()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("linnet.mesh", logging.WARNING)
    text = record.getMessage()
    assert text.startswith(__file__)
    assert "of shape (8, 4)" in text
    assert "mesh(mesh):`, or pass shardings to jax.jit" in text
    # The fixes that the warning suggests.
    forgotten_mesh._given = False
    with set_mesh(MESH):
        program()
    assert caplog.records == [record]


@pytest.mark.filterwarnings("ignore:.*with mesh:DeprecationWarning")
def test_the_older_context_is_named(caplog):
    with MESH:
        kernel()
    assert "`with mesh:` doesn't count; write `with jax." in caplog.text


def jit_with_shardings():
    module = Dense()
    shapes = jax.eval_shape(module.init, jax.random.key(0), X)
    init = jax.jit(module.init, out_shardings=linen.get_sharding(shapes, MESH))
    variables = init(jax.random.key(0), X)
    module.apply(variables, X)


def placed_by_hand():
    variables = {"kernel": linen.Partitioned(jax.device_put(X, DEVICES.flat[-1]), ("data",))}
    linen.unbox(variables)
    nnx.Param(jax.device_put(X, NamedSharding(MESH, P("model"))), out_sharding=("model",))


def logical_without_rules():
    apply(logical=True)


def not_split():
    nnx.Param(X, out_sharding=(None, None))
    with linen.logical_axis_rules((("in", None), ("out", None))):
        apply(logical=True)


def with_a_mesh_of_its_own():
    nnx.Param(jnp.ones((8, 4)), out_sharding=(None, "model"), mesh=MESH)
    linen.Partitioned(jnp.ones((8, 4)), (None, "model"), MESH).unbox()


def switched_off():
    with nnx.use_eager_sharding(False):
        kernel()


def only_shapes():
    nnx.eval_shape(kernel)
    nnx.jit(kernel).lower()


FINE = [
    jit_with_shardings,
    placed_by_hand,
    logical_without_rules,
    not_split,
    with_a_mesh_of_its_own,
    switched_off,
    only_shapes,
]


@pytest.mark.parametrize("program", FINE, ids=lambda p: p.__name__)
def test_nothing_is_said_where_nothing_is_forgotten(program, caplog):
    program()
    assert caplog.records == []


def test_strict_rules_know_names_without_a_mesh():
    with sharding.strict_axis_rules(RULES):
        for mistake in (
            lambda: nnx.Param(jnp.ones(4), out_sharding=("outt",)),
            lambda: linen.LogicallyPartitioned(jnp.ones(4), ("outt",)).unbox(),
        ):
            with pytest.raises(ArgumentError, match="Did you mean 'out'"):
                mistake()
