"""Models of linen and their nnx twins: values convert without loss, and outputs agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linnet.linen as nn
from comparing import placed
from linnet import nnx
from linnet.layers_recurrent import nnx as recurrent

KEY = jax.random.key(0)
X = placed(np.random.default_rng(0).normal(size=(2, 5, 4)), jnp.float32)


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(2, normalize_qk=True)(nn.LayerNorm()(x))
        x = nn.BatchNorm(use_running_average=True)(x)
        h = nn.relu(nn.Dense(8)(x))
        h = nn.Dense(4)(h)
        return nn.Conv(4, (3,))(x + h)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            2, 4, normalize_qk=True, decode=False, rngs=rngs, deterministic=True
        )
        self.batch = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.out = nnx.Linear(4, 8, rngs=rngs)
        self.back = nnx.Linear(8, 4, rngs=rngs)
        self.conv = nnx.Conv(4, 4, (3,), rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm(x))
        x = self.batch(x)
        return self.conv(x + self.back(nnx.relu(self.out(x))))


class LinenModel(nn.Module):
    def setup(self):
        self.embed = nn.Embed(7, 4)
        self.blocks = [LinenBlock() for _ in range(2)]

    def __call__(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(x)


class Model(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 4, rngs=rngs)
        self.blocks = [Block(rngs) for _ in range(2)]

    def __call__(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(x)


def random_like(variables):
    """Values that initializers don't produce: biases that aren't zero, scales that aren't one."""
    leaves, structure = jax.tree.flatten(variables)
    rng = np.random.default_rng(0)
    drawn = [placed(rng.uniform(0.5, 1.5, x.shape), x.dtype) for x in leaves]
    return jax.tree.unflatten(structure, drawn)


def check(linen_model, model, *inputs, drop=()):
    variables = random_like(jax.eval_shape(linen_model.init, KEY, *inputs))
    for path in drop:
        *above, last = path
        level = variables
        for name in above:
            level = level[name]
        level[last] = jnp.zeros_like(level[last])
    nnx.bridge.linen_to_nnx(variables, model)
    expected = linen_model.apply(variables, *inputs)
    for a, b in zip(jax.tree.leaves(model(*inputs)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)
    back = nnx.bridge.nnx_to_linen(model, jax.eval_shape(linen_model.init, KEY, *inputs))
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_a_transformer():
    check(LinenModel(), Model(nnx.Rngs(0)), jnp.array([[1, 2, 6]]))


@pytest.mark.parametrize(
    "name", ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell", "MGUCell"]
)
def test_recurrent_cells(name):
    linen_model = nn.RNN(getattr(nn, name)(3))
    model = recurrent.RNN(getattr(recurrent, name)(4, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    drop = [("params", "cell", "hn", "bias")] if name == "GRUCell" else []
    check(linen_model, model, X, drop=drop)
