"""Stateful models in Linnet's and in Flax's nnx, from the same source.

`stack` has many small layers, so that arithmetic is a negligible part of the cost of a call: 50
pairs of a `Linear` and a `BatchNorm`; with Adam, 702 arrays. `transformer` is a pre-norm
transformer with causal attention.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bench.case import FLAX, LINNET

WIDTH = 8
BLOCKS = 50
FEATURES, HEADS, HIDDEN, LAYERS = 256, 8, 1024, 24


def nnx_of(form: str) -> Any:
    """The nnx of a form."""
    return importlib.import_module({LINNET: "linnet.nnx", FLAX: "flax.nnx"}[form])


@functools.cache
def _stack(form: str) -> Any:
    nnx = nnx_of(form)

    class Block(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            self.linear = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
            self.norm = nnx.BatchNorm(WIDTH, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.norm(self.linear(x))

    class Stack(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            self.blocks = nnx.List([Block(rngs) for _ in range(BLOCKS)])

        def __call__(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return x

    return Stack


def stack(form: str) -> Any:
    """50 x (Linear, BatchNorm), in training mode."""
    return _stack(form)(nnx_of(form).Rngs(0))


def optimizer(form: str, model: Any) -> Any:
    """Adam for the parameters of a model."""
    nnx = nnx_of(form)
    return nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)


def batch() -> jax.Array:
    """The inputs of the stack."""
    return jnp.linspace(-1.0, 1.0, 4 * WIDTH).reshape(4, WIDTH)


def step(form: str) -> Any:
    """A training step of the stack, not jitted: (model, optimizer, inputs) -> loss."""
    nnx = nnx_of(form)

    def run(model: Any, optimizer: Any, x: Any) -> Any:
        loss, gradients = nnx.value_and_grad(lambda m: jnp.mean(m(x) ** 2))(model)
        optimizer.update(model, gradients)
        return loss

    return run


@functools.cache
def transformer(form: str, *, repeated: bool = False) -> Any:
    """The class of the transformer: `Transformer(layers, rngs)`.

    Args:
      form: the library.
      repeated: whether its layers are a `Repeat`, which only Linnet has.
    """
    nnx = nnx_of(form)

    class Layer(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            self.norm1 = nnx.LayerNorm(FEATURES, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, FEATURES, decode=False, rngs=rngs)
            self.norm2 = nnx.LayerNorm(FEATURES, rngs=rngs)
            self.up = nnx.Linear(FEATURES, HIDDEN, rngs=rngs)
            self.down = nnx.Linear(HIDDEN, FEATURES, rngs=rngs)

        def __call__(self, x: Any, mask: Any) -> Any:
            x = x + self.attention(self.norm1(x), mask=mask)
            return x + self.down(nnx.gelu(self.up(self.norm2(x))))

    class Transformer(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, layers: int, rngs: Any) -> None:
            if repeated:
                self.layers = nnx.Repeat(Layer, layers, rngs=rngs)
            else:
                self.layers = nnx.List([Layer(rngs) for _ in range(layers)])
            self.last = nnx.LayerNorm(FEATURES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            mask = nnx.make_causal_mask(x[..., 0])
            for layer in (self.layers,) if repeated else self.layers:
                x = layer(x, mask)
            return self.last(x)

    return Transformer
