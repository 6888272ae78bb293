"""Compiled programs of a model."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from . import mlp

KINDS = ("eval", "train", "grad-step")


def arguments() -> tuple[Any, ...]:
    """The arguments of a program: parameters, inputs, dropout key."""
    return mlp.parameters(), mlp.inputs(), jax.random.key(0)


@functools.cache
def compiled(form: str, kind: str) -> Any:
    """`apply` with or without dropout, or a step of gradient descent, compiled by `jax.jit`."""
    model = mlp.model(form)

    def step(params: mlp.Params, x: mlp.Array, key: mlp.Array) -> mlp.Params:
        def loss(params: mlp.Params) -> mlp.Array:
            return jnp.mean(jnp.square(model.train(params, x, key)))

        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params))

    run = {"eval": model.evaluate, "train": model.train, "grad-step": step}[kind]
    return jax.jit(run).lower(*arguments()).compile()
