"""A program by an nnx user, typed throughout: mypy and pyright accept it under strict settings.

It is also run. It learns to tell whether a point lies inside a ring, with an ensemble of networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeAlias, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax

from linnet import nnx

Activation = Callable[[jax.Array], jax.Array]
Saved: TypeAlias = "tuple[nnx.GraphDef[Net], nnx.State]"


@dataclasses.dataclass(frozen=True)
class Config:
    """The options of a run."""

    width: int = 8
    depth: int = 2
    members: int = 2
    rate: float = 0.1
    steps: int = 3
    batch: int = 16
    seed: int = 0


class Steps(nnx.Variable[nnx.A]):
    """How often a block was called."""


class Block(nnx.Module):
    """A residual block: normalization, two layers, dropout."""

    def __init__(self, width: int, rate: float, act: Activation, *, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.lecun_normal()
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 2 * width, kernel_init=init, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.gain = nnx.Param(jnp.asarray(0.5))
        self.calls = Steps(jnp.asarray(0))
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        self.calls[...] += 1
        y = self.down(self.act(self.up(self.norm(x))))
        return x + self.gain * self.dropout(y)


class Net(nnx.Module):
    """Blocks between two linear layers."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Linear(2, config.width, rngs=rngs)
        self.blocks = nnx.List(
            [Block(config.width, config.rate, nnx.gelu, rngs=rngs) for _ in range(config.depth)]
        )
        self.head = nnx.Linear(config.width, 2, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    @nnx.jit
    def predict(self, x: jax.Array) -> jax.Array:
        return self(x).argmax(-1)


def cross_entropy(net: Net, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits = net(x)
    picked = jnp.take_along_axis(nnx.log_softmax(logits), y[:, None], axis=-1)
    return -picked.mean(), logits


@nnx.jit
def train_step(
    net: Net, optimizer: nnx.Optimizer[Net], metrics: nnx.MultiMetric, x: jax.Array, y: jax.Array
) -> jax.Array:
    (loss, logits), grads = nnx.value_and_grad(cross_entropy, has_aux=True)(net, x, y)
    optimizer.update(net, grads)
    metrics.update(loss=loss, logits=logits, labels=y)
    return loss


@nnx.jit(static_argnames="power")
def decay_of(net: Net, power: int = 2) -> jax.Array:
    leaves: list[jax.Array] = jax.tree.leaves(nnx.state(net, nnx.Param))
    return sum((jnp.abs(leaf**power).sum() for leaf in leaves), jnp.asarray(0.0))


def batches(config: Config) -> Iterator[tuple[jax.Array, jax.Array]]:
    random = np.random.default_rng(config.seed)
    for _ in range(config.steps):
        points = random.normal(size=(config.batch, 2)).astype(np.float32)
        yield jnp.asarray(points), jnp.asarray(np.hypot(points[:, 0], points[:, 1]) > 1, np.int32)


def restored(saved: Saved) -> Net:
    net = nnx.merge(*saved)
    net.eval()
    return net


def train(config: Config) -> tuple[Net, list[float]]:
    rngs = nnx.Rngs(config.seed, dropout=1)
    net = Net(config, rngs=rngs)
    net.train()
    optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)
    metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))
    losses = [float(train_step(net, optimizer, metrics, x, y)) for x, y in batches(config)]
    assert set(metrics.compute()) == {"accuracy", "loss"}
    assert int(optimizer.step.value) == config.steps
    return net, losses


def ensemble(config: Config, x: jax.Array) -> jax.Array:
    @nnx.split_rngs(splits=config.members)
    @nnx.vmap
    def make(rngs: nnx.Rngs) -> Net:
        return Net(config, rngs=rngs)

    @nnx.vmap(in_axes=(0, None), out_axes=0)
    def forward(net: Net, x: jax.Array) -> jax.Array:
        return net(x)

    return nnx.softmax(forward(make(nnx.Rngs(config.seed)), x)).mean(0)


def main(config: Config) -> None:
    net, losses = train(config)
    assert len(losses) == config.steps
    graphdef, params, rest = nnx.split(net, nnx.Param, ...)
    copy = restored((graphdef, nnx.merge_state(params, rest)))
    x = nnx.Rngs(2).params.normal((4, 2))
    assert copy.predict(x).shape == (4,)
    kernel = copy.stem.kernel
    assert (x @ kernel).shape == (x @ kernel[...]).shape
    assert int(copy.blocks[0].calls.value) == config.steps + 1
    assert decay_of(copy, power=2).shape == ()
    assert ensemble(config, x).shape == (4, 2)
    total = nnx.fori_loop(0, 3, lambda i, y: y * 2, x)
    assert nnx.cond(True, jnp.sum, jnp.max, total).shape == ()
    assert get_type_hints(restored)["return"] is Net  # annotations can be resolved at run time
    abstract = nnx.eval_shape(lambda: Net(config, rngs=nnx.Rngs(0)))
    assert abstract.head.kernel.shape == (config.width, 2)


if __name__ == "__main__":
    main(Config())
