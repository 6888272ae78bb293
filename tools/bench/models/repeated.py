"""A training step of a stack of transformer blocks: Linnet's `Repeat`, or a Python loop in Flax.

All forms have the same blocks and parameters; a step is a gradient and an update with Adam.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bench.case import FLAX, LINNET

FEATURES, HEADS, LAYERS = 64, 4, 24
NNX = "linnet nnx"


class Step(NamedTuple):
    """A step and its arguments: the parameters, the optimizer's state, the inputs."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...]


def inputs() -> jax.Array:
    """8 sequences of 64 tokens."""
    return jax.random.normal(jax.random.key(0), (8, 64, FEATURES))


def step(form: str, layers: int = LAYERS, remat: Any = None) -> Step:
    """The step of a form.

    Args:
      form: LINNET or NNX for repeated blocks, FLAX for a loop.
      layers: the number of blocks.
      remat: the option of the repeated blocks.
    """
    apply, params = _nnx(layers, remat) if form == NNX else _linen(form, layers, remat)
    optimizer = optax.adam(1e-3)

    def run(params: Any, state: Any, x: jax.Array) -> Any:
        gradients = jax.grad(lambda params: (apply(params, x) ** 2).mean())(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state

    return Step(run, (params, optimizer.init(params), inputs()))


def _linen(form: str, layers: int, remat: Any) -> tuple[Callable[..., Any], Any]:
    model = _model(form, layers, remat)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs())
    params = jax.tree.map(lambda x: jnp.full(x.shape, 0.01, x.dtype), shapes)
    return model.apply, params


def _model(form: str, layers: int, remat: Any) -> Any:
    nn = importlib.import_module({LINNET: "linnet.linen", FLAX: "flax.linen"}[form])

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: jax.Array) -> Any:
            x = x + nn.MultiHeadDotProductAttention(num_heads=HEADS)(nn.LayerNorm()(x))
            y = nn.gelu(nn.Dense(4 * FEATURES)(nn.LayerNorm()(x)))
            return x + nn.Dense(FEATURES)(y)

    class Loop(nn.Module):  # type: ignore[misc, name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: jax.Array) -> Any:
            for _ in range(layers):
                x = Block()(x)
            return x

    return nn.Repeat(Block, layers, remat=remat) if form == LINNET else Loop()


def _nnx(layers: int, remat: Any) -> tuple[Callable[..., Any], Any]:
    from linnet import nnx

    model = nnx.Repeat(_block(), layers, rngs=nnx.Rngs(0), remat=remat)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    return lambda params, x: nnx.merge(graphdef, params, rest)(x), params


@functools.cache
def _block() -> Any:
    from linnet import nnx

    class Block(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.norm1 = nnx.LayerNorm(FEATURES, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, FEATURES, decode=False, rngs=rngs)
            self.norm2 = nnx.LayerNorm(FEATURES, rngs=rngs)
            self.up = nnx.Linear(FEATURES, 4 * FEATURES, rngs=rngs)
            self.down = nnx.Linear(4 * FEATURES, FEATURES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.down(nnx.gelu(self.up(self.norm2(x))))

    return Block
