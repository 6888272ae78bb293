"""Small modules for the tests, of both styles; found by name, as a user's own would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras

from linnet.module_core import linen, nnx
from linnet.struct import dataclass

normal = jax.nn.initializers.normal(0.5)


class Dense(linen.Module):
    features: int
    kernel_init: Callable[..., Any] = normal
    dtype: Any = None

    @linen.compact
    def __call__(self, inputs):
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features))
        bias = self.param("bias", jax.nn.initializers.zeros, (self.features,))
        return (inputs @ kernel + bias).astype(self.dtype or inputs.dtype)


class Norm(linen.Module):
    momentum: float = 0.9

    @linen.compact
    def __call__(self, inputs, training):
        mean = self.variable("batch_stats", "mean", jnp.zeros, inputs.shape[-1:])
        if training and not self.is_initializing():
            new = jnp.mean(inputs.astype("float32"), 0)
            mean.value = self.momentum * mean.value + (1 - self.momentum) * new
        return inputs - (jnp.mean(inputs, 0) if training else mean.value.astype(inputs.dtype))


class Dropout(linen.Module):
    rate: float = 0.5

    @linen.compact
    def __call__(self, inputs, training):
        if not training:
            return inputs
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, inputs.shape)
        return jnp.where(keep, inputs / (1 - self.rate), 0)


class Net(linen.Module):
    """Dense, normalized, with dropout: everything that differs between training and inference."""

    features: int = 8
    activation: Callable[[Any], Any] = jax.nn.relu

    @linen.compact
    def __call__(self, inputs, training=False):
        x = Norm()(Dense(self.features)(inputs), training)
        return Dense(2)(Dropout()(self.activation(x), training))


class Counter(linen.Module):
    """Counts its calls, in training and otherwise."""

    @linen.compact
    def __call__(self, inputs):
        calls = self.variable("counter", "calls", jnp.zeros, (), "int32")
        calls.value += 1
        return inputs


class Embed(linen.Module):
    numbers: int = 10

    @linen.compact
    def __call__(self, inputs):
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(f"Embed needs integers, got {inputs.dtype}.")
        return self.param("embedding", normal, (self.numbers, 4))[inputs]


class Sowing(linen.Module):
    @linen.compact
    def __call__(self, inputs):
        self.sow("intermediates", "seen", inputs)
        self.sow("losses", "l2", jnp.sum(inputs**2))
        return Dense(2)(inputs)


class Coder(linen.Module):
    """Two methods, and submodules made in setup."""

    def setup(self):
        self.encoder = Dense(3)
        self.decoder = Dense(5)

    def encode(self, inputs):
        return self.encoder(inputs)

    def __call__(self, inputs):
        return self.decoder(self.encoder(inputs))


class Two(linen.Module):
    @linen.compact
    def forward(self, left, right, deterministic):
        x = jnp.concatenate([left, right], -1)
        return Dense(2)(Dropout()(x, not deterministic))


def forward_two(module, inputs, training):
    return module.forward(*inputs, not training)


def twice(x):
    return 2 * x


@keras.saving.register_keras_serializable(package="tests")
def registered(x):
    return 3 * x


class Pair(NamedTuple):
    left: int
    right: Any


@dataclass
class Options:
    size: int
    function: Any


class Holder(linen.Module):
    """A field of any kind."""

    value: Any = None
    other: Any = None

    @linen.compact
    def __call__(self, inputs):
        return inputs


class WithConfig(linen.Module):
    """Has a configuration of its own, which leaves out a field that nothing could save."""

    size: int = 1
    function: Any = None

    def get_config(self):
        return {"double": 2 * self.size}

    @classmethod
    def from_config(cls, config):
        return cls(config["double"] // 2)

    @linen.compact
    def __call__(self, inputs):
        return Dense(self.size)(inputs)


class Linear(nnx.Module):
    def __init__(self, size, features, *, rngs):
        self.kernel = nnx.Param(0.5 * rngs.params.normal((size, features)))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, inputs):
        return inputs @ self.kernel[...] + self.bias[...]


class RunningNorm(nnx.Module):
    def __init__(self, size):
        self.mean = nnx.BatchStat(jnp.zeros(size))
        self.use_running_average = False

    def __call__(self, inputs):
        if self.use_running_average:
            return inputs - self.mean[...]
        mean = jnp.mean(inputs, 0)
        self.mean[...] = 0.9 * self.mean[...] + 0.1 * mean
        return inputs - mean


class Drop(nnx.Module):
    def __init__(self, rngs):
        self.deterministic = False
        self.rngs = rngs.dropout.fork()

    def __call__(self, inputs):
        if self.deterministic:
            return inputs
        return jnp.where(jax.random.bernoulli(self.rngs(), 0.5, inputs.shape), 2 * inputs, 0)


class NNXNet(nnx.Module):
    def __init__(self, size=3, features=8, activation=jax.nn.relu, *, rngs):
        self.layers = nnx.List([Linear(size, features, rngs=rngs), Linear(features, 2, rngs=rngs)])
        self.norm = RunningNorm(features)
        self.drop = Drop(rngs)
        self.activation = activation

    def __call__(self, inputs):
        x = self.activation(self.norm(self.layers[0](inputs)))
        return self.layers[1](self.drop(x))


def make_nnx_net(rngs):
    return NNXNet(rngs=rngs)
