"""Small modules for the tests of nnx transforms, with every kind of state."""

import jax
import jax.numpy as jnp

from linnet.module_core import nnx


class Dense(nnx.Module):
    """A kernel."""

    def __init__(self, features, *, rngs):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (features, features)) / 2)

    def __call__(self, x):
        return jnp.tanh(x @ self.kernel[...])


class Block(nnx.Module):
    """A layer, a count of its calls, and noise from a stream of its own."""

    def __init__(self, features, *, rngs, noise=0.0):
        self.dense = Dense(features, rngs=rngs)
        self.calls = nnx.BatchStat(jnp.zeros(()))
        self.rngs = rngs.noise.fork()
        self.noise = noise

    def __call__(self, x):
        self.calls[...] += 1
        y = self.dense(x)
        return y + self.noise * jax.random.normal(self.rngs(), y.shape) if self.noise else y


def block(seed=0, features=3, **options):
    return Block(features, rngs=nnx.Rngs(seed), **options)


def blocks(count, features=3, **options):
    """Blocks stacked along a new first axis."""
    keys = jax.random.split(jax.random.key(7), count)
    return nnx.vmap(lambda key: Block(features, rngs=nnx.Rngs(key), **options))(keys)


def one_of(many, i):
    """The block at an index of `blocks`."""
    graphdef, state = nnx.split(many)
    return nnx.merge(graphdef, jax.tree.map(lambda x: x[i], state))


def values(node):
    return nnx.to_flat_state(nnx.state(node))
