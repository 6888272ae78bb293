"""`Repeat` on eight devices, with stacked layers that are split; test_devices.py runs this file."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from comparing import near
from linnet.module_core import linen as nn
from linnet.module_core import nnx

P = PartitionSpec
LAYERS, WIDTH, BATCH = 6, 16, 24
X = np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype(np.float32)
GATHERED = re.compile(rf"\[{LAYERS},{WIDTH},{WIDTH}\]\S* all-gather")


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", jax.nn.initializers.normal(0.1), (WIDTH, WIDTH))
        return x + jnp.tanh(x @ kernel)


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        self.kernel = nnx.Param(0.1 * jax.random.normal(rngs.params(), (WIDTH, WIDTH)))

    def __call__(self, x):
        return x + jnp.tanh(x @ self.kernel[...])


def linen():
    """The model as a function of its parameters and an input, and the parameters."""
    model = nn.Repeat(LinenBlock, LAYERS)
    return model.apply, model.init(jax.random.key(0), X)


def of_nnx():
    graphdef, state = nnx.split(nnx.Repeat(NNXBlock, LAYERS, rngs=nnx.Rngs(0)))
    return lambda state, x: nnx.merge(graphdef, state)(x), state


STYLES = pytest.mark.parametrize("make", [linen, of_nnx], ids=["linen", "nnx"])


def on(mesh, x, *entries):
    return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, P(*entries))), x)


@STYLES
def test_no_device_gathers_the_whole_stack(make):
    """FSDP: the rows of each layer's kernel are split, and gathered layer by layer."""
    apply, values = make()
    step = jax.jit(jax.value_and_grad(lambda values, x: (apply(values, x) ** 2).sum()))
    expected = step(values, X)
    mesh = Mesh(jax.devices(), ("data",))
    arguments = on(mesh, values, None, "data"), on(mesh, X, "data")
    layouts = jax.tree.map(lambda x: x.sharding, arguments[0])
    compiled = jax.jit(step, out_shardings=(None, layouts)).lower(*arguments).compile()
    assert GATHERED.search(compiled.as_text()) is None
    value, gradient = compiled(*arguments)
    near((value, gradient), expected, 1e-4, 1e-5)
    for leaf in jax.tree.leaves(gradient):
        assert leaf.sharding.shard_shape(leaf.shape) == (LAYERS, WIDTH // 8, WIDTH)


@STYLES
@pytest.mark.parametrize("check_vma", [True, False])
def test_gradients_in_shard_map_are_those_of_one_device(make, check_vma):
    """`check_vma` makes jax sum gradients of shared values; without it, the program has to."""
    apply, values = make()
    expected = jax.jit(jax.grad(lambda values, x: (apply(values, x) ** 2).mean()))(values, X)

    def loss(values, x):
        own = (apply(values, x) ** 2).mean()
        return jax.lax.pmean(own, "data") if check_vma else own

    def of_own(values, x):
        gradient = jax.grad(loss)(values, x)
        return gradient if check_vma else jax.lax.pmean(gradient, "data")

    mesh = Mesh(jax.devices(), ("data",))
    mapped = jax.shard_map(
        of_own, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check_vma
    )
    near(jax.jit(mapped)(values, X), expected, 1e-4, 1e-6)
