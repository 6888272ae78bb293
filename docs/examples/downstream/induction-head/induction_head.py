"""A transformer that learns to continue what it has seen before, written in plain JAX.

Its parameters are dicts and its layers functions; norms and attention come from the `functional`
modules of two packages, and no module system is imported. The task is that of Olsson et al. 2022,
https://arxiv.org/abs/2209.11895: a random sequence is repeated, and in the second half, each token
can be predicted by looking up what came next the first time. That takes two layers of attention.

B: batch, T: tokens, D: features, H: heads, V: vocabulary.
"""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from linnet.layers_attention.functional import dot_product_attention
from linnet.layers_norm.functional import rms_norm

Parameters = dict[str, Any]

V, T, D, H, LAYERS = 16, 24, 64, 4, 2
STEPS, B = 400, 64


def init(key: jax.Array) -> Parameters:
    """Parameters of all layers."""

    def kernel(key: jax.Array, *shape: int) -> jax.Array:
        return jax.random.normal(key, shape) * shape[0] ** -0.5

    token, position, *layers = jax.random.split(key, 2 + LAYERS)
    return {
        "token": kernel(token, V, D),
        "position": kernel(position, T, D),
        "layers": [
            {
                "scale": jnp.ones(D),
                "qkv": kernel(jax.random.fold_in(key, 0), D, 3 * D),
                "out": kernel(jax.random.fold_in(key, 1), D, D),
            }
            for key in layers
        ],
        "scale": jnp.ones(D),
    }


def apply(parameters: Parameters, tokens: jax.Array) -> jax.Array:
    """Logits [B, T, V] for the token that follows each of `tokens` [B, T]."""
    x = parameters["token"][tokens] + parameters["position"][: tokens.shape[1]]  # [B, T, D]
    for layer in parameters["layers"]:
        qkv = rms_norm(x, layer["scale"]) @ layer["qkv"]  # [B, T, 3D]
        query, key, value = (
            part.reshape(*part.shape[:2], H, D // H) for part in jnp.split(qkv, 3, axis=-1)
        )  # each [B, T, H, D/H]
        seen = dot_product_attention(query, key, value, is_causal=True)  # [B, T, H, D/H]
        x = x + seen.reshape(x.shape) @ layer["out"]  # [B, T, D]
    return rms_norm(x, parameters["scale"]) @ parameters["token"].T  # [B, T, V]


def repeated(key: jax.Array) -> jax.Array:
    """Sequences [B, T] whose second half repeats the first; no token occurs twice in a half."""
    keys = jax.random.split(key, B)
    first = jax.vmap(lambda key: jax.random.permutation(key, V)[: T // 2])(keys)  # [B, T/2]
    return jnp.concatenate([first, first], axis=1)  # [B, T]


def loss(parameters: Parameters, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of the second half, and the fraction of it that is predicted correctly."""
    logits = apply(parameters, tokens[:, :-1])[:, T // 2 :]  # [B, T/2-1, V]
    following = tokens[:, T // 2 + 1 :]  # [B, T/2-1]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), following[..., None], axis=-1)
    return -chosen.mean(), (logits.argmax(-1) == following).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def step(
    parameters: Parameters, momenta: tuple[Parameters, Parameters], number: jax.Array
) -> tuple[Parameters, tuple[Parameters, Parameters], jax.Array]:
    """One step of Adam (Kingma and Ba 2015), on new sequences."""
    tokens = repeated(jax.random.fold_in(jax.random.key(1), number))
    (_, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, tokens)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, momenta[0], gradient)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, momenta[1], gradient)
    t = number + 1

    def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return p - 3e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.99**t)) + 1e-8)

    return jax.tree.map(moved, parameters, first, second), (first, second), accuracy


def main() -> None:
    """Trains, and prints what was learned."""
    parameters = init(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    momenta = (zeros, jax.tree.map(jnp.zeros_like, parameters))
    for number in range(STEPS):
        parameters, momenta, _ = step(parameters, momenta, jnp.asarray(number))
    _, accuracy = loss(parameters, repeated(jax.random.key(2)))
    print(f"correct after {STEPS} steps: {float(accuracy):.1%} (guessing: {1 / V:.1%})")
    if not accuracy > 0.9:
        raise SystemExit("the sequences were not learned")
    if "linnet.module_core.linen" in sys.modules or "linnet.module_core.nnx" in sys.modules:
        raise SystemExit("functions of arrays have imported a module system")


if __name__ == "__main__":
    main()
