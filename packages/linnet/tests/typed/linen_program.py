"""A program by a linen user, typed throughout: mypy and pyright accept it under strict settings.

It is also run. It learns to continue sequences of letters, with recurrence and with attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

import linnet.linen as nn
from linnet import struct
from linnet.struct import serialization, traverse_util

Params: TypeAlias = dict[str, Any]
Activation = Callable[[jax.Array], jax.Array]


class Config(struct.PyTreeNode):
    """The settings of a run."""

    vocabulary: int = struct.field(pytree_node=False, default=8)
    features: int = struct.field(pytree_node=False, default=8)
    layers: int = struct.field(pytree_node=False, default=2)
    heads: int = struct.field(pytree_node=False, default=2)
    length: int = struct.field(pytree_node=False, default=6)
    rate: float = struct.field(pytree_node=False, default=0.1)


class Feedforward(nn.Module):
    """Two layers; the value between them is scaled by a parameter."""

    features: int
    act: Activation = nn.gelu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gain = self.param("gain", nn.initializers.constant(0.5), (self.features,))
        hidden = self.act(nn.Dense(self.features, name="up")(x)) * gain
        kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, None))
        return nn.Dense(x.shape[-1], kernel_init=kernel_init, name="down")(hidden)


class Block(nn.Module):
    """Attention and a feed-forward network, each with a shortcut."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        mask = nn.make_causal_mask(x[..., 0])
        attention = nn.MultiHeadDotProductAttention(
            num_heads=self.config.heads, dropout_rate=self.config.rate, deterministic=not train
        )
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        x = x + Feedforward(2 * self.config.features)(nn.RMSNorm()(x))
        return nn.Dropout(self.config.rate, deterministic=not train)(x)


class Model(nn.Module):
    """Embeds, attends, and returns logits for the next letter."""

    config: Config

    def setup(self) -> None:
        self.embed = nn.Embed(self.config.vocabulary, self.config.features)
        block = nn.remat(Block, static_argnums=(2,))
        self.blocks = [block(self.config) for _ in range(self.config.layers)]
        self.calls = self.variable("counts", "calls", lambda: jnp.asarray(0))

    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        x: jax.Array = self.embed(tokens)
        for block in self.blocks:
            x = block(x, train)
        if not self.is_initializing() and self.is_mutable_collection("counts"):
            self.calls.value = self.calls.value + 1
        self.sow("intermediates", "mean", x.mean())
        return self.embed.attend(x)


class TrainState(struct.PyTreeNode):
    """Parameters, the optimizer's state, and the number of steps."""

    step: int
    params: Params
    opt_state: optax.OptState
    tx: optax.GradientTransformation = struct.field(pytree_node=False)

    def apply_gradients(self, grads: Params) -> TrainState:
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params: Params = jax.tree.map(jnp.add, self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)


def batches(config: Config, count: int) -> Iterator[jax.Array]:
    random = np.random.default_rng(0)
    for _ in range(count):
        starts = random.integers(config.vocabulary, size=(4, 1))
        yield jnp.asarray((starts + np.arange(config.length + 1)) % config.vocabulary)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    one_hot = nn.one_hot(labels, logits.shape[-1])
    return -(nn.log_softmax(logits) * one_hot).sum(-1).mean()


def make_step(model: Model) -> Callable[[TrainState, jax.Array, jax.Array], TrainState]:
    def loss(params: Params, tokens: jax.Array, key: jax.Array) -> jax.Array:
        logits, changed = model.apply(
            {"params": params}, tokens[:, :-1], True, rngs={"dropout": key}, mutable=["counts"]
        )
        assert list(changed) in ([], ["counts"])
        return cross_entropy(logits, tokens[:, 1:])

    def step(state: TrainState, tokens: jax.Array, key: jax.Array) -> TrainState:
        return state.apply_gradients(jax.grad(loss)(state.params, tokens, key))

    return jax.jit(step)


def kernels(params: Mapping[str, Any]) -> list[str]:
    return [k for k in traverse_util.flatten_dict(params, sep="/") if k.endswith("kernel")]


def main(config: Config) -> None:
    model = Model(config)
    key = jax.random.key(0)
    example = next(batches(config, 1))[:, :-1]
    variables = model.init(key, example)
    params: Params = nn.unbox(variables["params"])
    tx = optax.adam(1e-2)
    state = TrainState(step=0, params=params, opt_state=tx.init(params), tx=tx)
    step = make_step(model)
    for tokens in batches(config, 2):
        state = step(state, tokens, jax.random.fold_in(key, 1))
    assert int(state.step) == 2
    logits: jax.Array = model.apply(
        {"params": state.params, "counts": variables["counts"]}, example
    )
    assert logits.shape == (4, config.length, config.vocabulary)
    restored = serialization.from_bytes(params, serialization.to_bytes(state.params))
    assert len(kernels(restored)) == len(kernels(params)) > 8
    wide = config.replace(features=16)
    assert model.clone(config=wide).config.features == 16
    stacked = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    y, _ = stacked(3).init_with_output(key, jnp.asarray(np.ones((2, 4), np.float32)))
    assert y.shape == (2, 3)
    bound = model.bind({"params": state.params, "counts": variables["counts"]})
    assert bound.embed(example).shape == (4, config.length, config.features)


if __name__ == "__main__":
    main(Config())
