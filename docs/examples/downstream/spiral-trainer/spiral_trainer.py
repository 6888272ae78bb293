"""Trains a linen module with batch normalization to tell two spirals apart.

The project takes the layers that it uses from their own packages, each pinned to a minor version:
below 1.0, the next minor version may break something, and pip should report that when it installs,
not Python when it runs. The facade `linnet.linen` isn't needed; it would also install attention and
recurrent layers.

B: batch.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from linnet.layers_linear import linen as linear
from linnet.layers_norm import linen as norm
from linnet.module_core import linen

Variables = dict[str, Any]


class Classifier(linen.Module):
    """Two hidden layers, each normalized over the batch."""

    width: int = 32

    @linen.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:  # [B, 2]
        for _ in range(2):
            x = linear.Dense(self.width)(x)  # [B, width]
            x = norm.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = jax.nn.relu(x)
        return linear.Dense(1)(x)[:, 0]  # [B]


def spirals(key: jax.Array, points: int) -> tuple[jax.Array, jax.Array]:
    """Points [B, 2] of two spirals, with a little noise, and the spiral of each point [B]."""
    turn, noise = jax.random.split(key)
    spiral = jnp.arange(points) % 2
    radius = jnp.sqrt(jax.random.uniform(turn, (points,)))  # as many points outside as inside
    angle = 2 * math.pi * radius + math.pi * spiral
    x = jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=-1)  # [B, 2]
    return x + 0.02 * jax.random.normal(noise, x.shape), spiral


@jax.jit
def step(variables: Variables, x: jax.Array, y: jax.Array) -> tuple[Variables, jax.Array]:
    """One gradient step, which also updates the running averages."""

    def loss(params: Variables) -> tuple[jax.Array, Variables]:
        logits, updates = Classifier().apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jax.nn.softplus(jnp.where(y == 1, -logits, logits))), updates

    (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    params = jax.tree.map(lambda p, g: p - 0.3 * g, variables["params"], gradient)
    return {**updates, "params": params}, value


def main() -> None:
    """Trains, and prints the fraction of new points that it classifies correctly."""
    x, y = spirals(jax.random.key(0), 512)
    variables = Classifier().init(jax.random.key(1), x, train=False)
    for _ in range(500):
        variables, _ = step(variables, x, y)
    x, y = spirals(jax.random.key(2), 512)
    logits = Classifier().apply(variables, x, train=False)
    accuracy = float(jnp.mean((logits > 0) == (y == 1)))
    print(f"correct after 500 steps: {accuracy:.1%}")
    if not accuracy > 0.95:
        raise SystemExit("the spirals were not learned")


if __name__ == "__main__":
    main()
