"""Networks of sines for signals (Sitzmann et al. 2020, https://arxiv.org/abs/2006.09661).

A library in plain JAX that uses Linnet's initializers and no module system: `linnet-initializers`
installs jax and NumPy, and nothing else. Run as a program, it learns a signal whose frequencies a
network with tanh would not reach in the same number of steps.

B: batch, I: inputs, O: outputs.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp

from linnet.initializers import Initializer, variance_scaling, zeros

Parameters = list[dict[str, jax.Array]]

# The factor of all frequencies that section 3.2 of the paper recommends.
OMEGA = 30.0


def first_kernel() -> Initializer:
    """U[-1/n, 1/n) for n inputs: the first layer's sines have all frequencies up to OMEGA."""

    def init(key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1 / shape[0], 1 / shape[0])

    return init


def hidden_kernel() -> Initializer:
    """U[-√(6/n)/OMEGA, √(6/n)/OMEGA) for n inputs, which keeps the sines' distribution."""
    # A uniform distribution up to √(6/n)/OMEGA has the variance 2/(n·OMEGA²).
    return variance_scaling(2 / OMEGA**2, "fan_in", "uniform")


def init(key: jax.Array, widths: Sequence[int]) -> Parameters:
    """Parameters of a network of these widths, the inputs' first and the outputs' last."""
    kernel_inits = [first_kernel(), *[hidden_kernel()] * (len(widths) - 2)]
    return [
        {"kernel": kernel_init(key, shape, jnp.float32), "bias": zeros(key, shape[1:], jnp.float32)}
        for key, kernel_init, shape in zip(
            jax.random.split(key, len(kernel_inits)),
            kernel_inits,
            pairwise(widths),
            strict=True,
        )
    ]


def apply(parameters: Parameters, x: jax.Array) -> jax.Array:
    """The network's outputs [B, O] for inputs [B, I] between -1 and 1."""
    *hidden, last = parameters
    for layer in hidden:
        x = jnp.sin(OMEGA * (x @ layer["kernel"] + layer["bias"]))  # [B, width]
    return x @ last["kernel"] + last["bias"]  # [B, O]


@partial(jax.jit, static_argnames="rate")
def step(
    parameters: Parameters, x: jax.Array, y: jax.Array, rate: float
) -> tuple[Parameters, jax.Array]:
    """One gradient step on the mean squared error."""

    def error(parameters: Parameters) -> jax.Array:
        return jnp.mean((apply(parameters, x) - y) ** 2)

    loss, gradient = jax.value_and_grad(error)(parameters)
    return jax.tree.map(lambda p, g: p - rate * g, parameters, gradient), loss


def main() -> None:
    """Learns a chirp, and prints the mean squared error before and after."""
    x = jnp.linspace(-1.0, 1.0, 256)[:, None]  # [B, 1]
    y = jnp.sin(8 * math.pi * x**2)
    parameters = init(jax.random.key(0), (1, 64, 64, 1))
    begun = float(jnp.mean((apply(parameters, x) - y) ** 2))
    for _ in range(1000):
        parameters, loss = step(parameters, x, y, rate=3e-3)
    print(f"mean squared error: {begun:.3f}, after 1000 steps {float(loss):.5f}")
    if not loss < 0.01:
        raise SystemExit("the chirp was not learned")


if __name__ == "__main__":
    main()
