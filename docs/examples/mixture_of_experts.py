"""A mixture of experts: each token is processed by two of eight experts, chosen by a router.

    python docs/examples/mixture_of_experts.py

The layer is that of Mixtral (arXiv:2401.04088): gated experts, weighted by the softmax over those
that were chosen. Tokens are sorted by expert, and `jax.lax.ragged_dot` multiplies each group by its
own matrix, so that no token is dropped and no expert processes tokens other than its own. A
separate loss keeps the experts equally busy (arXiv:2101.03961).

The tokens are of eight kinds, each with its own function of 16 numbers that has to be learned; the
model doesn't see the kind. It is compared with a dense layer that does as much work per token. The
program needs linnet and optax.

Shapes: N tokens, W width, H hidden, E experts, K experts for a token.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from program import read_options, show_progress, stop_on_ctrl_c

from linnet import nnx

WIDTH, KINDS = 16, 8


class MixtureOfExperts(nnx.Module):
    """Gated feed-forward layers, among which a router chooses for each token.

    Args:
      width: W, of inputs and outputs.
      hidden: H, the hidden width of an expert.
      experts: E, the number of experts.
      chosen: K, the number of experts per token.
    """

    def __init__(
        self, width: int, hidden: int, experts: int, chosen: int, *, rngs: nnx.Rngs
    ) -> None:
        init = nnx.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=0)
        self.experts, self.chosen = experts, chosen
        self.router = nnx.Linear(width, experts, use_bias=False, rngs=rngs)
        self.gate = nnx.Param(init(rngs.params(), (experts, width, hidden)))
        self.up = nnx.Param(init(rngs.params(), (experts, width, hidden)))
        self.down = nnx.Param(init(rngs.params(), (experts, hidden, width)))

    def route(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Experts [N, K] for tokens [N, W], their weights [N, K], and all probabilities [N, E]."""
        probabilities = nnx.softmax(self.router(x).astype(jnp.float32))
        weights, experts = jax.lax.top_k(probabilities, self.chosen)
        return experts, weights / weights.sum(-1, keepdims=True), probabilities

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Outputs [N, W] for tokens [N, W], and how unequally busy the experts are, at least 1."""
        experts, weights, probabilities = self.route(x)
        flat = experts.reshape(-1)  # [N·K]
        order = jnp.argsort(flat)
        sizes = jnp.bincount(flat, length=self.experts)  # tokens of each expert, [E]
        rows = x[order // self.chosen]  # [N·K, W], sorted by expert
        gate = jax.lax.ragged_dot(rows, self.gate[...], sizes)
        hidden = nnx.silu(gate) * jax.lax.ragged_dot(rows, self.up[...], sizes)
        y = jax.lax.ragged_dot(hidden, self.down[...], sizes)  # [N·K, W]
        y = y[jnp.argsort(order)].reshape(*experts.shape, -1)  # [N, K, W], in the original order
        busy = sizes / flat.size  # each expert's share of the work
        balance = self.experts * jnp.sum(busy * probabilities.mean(0))
        return jnp.sum(y * weights[..., None].astype(y.dtype), axis=1), balance


class Dense(nnx.Module):
    """One gated layer that does the work of the chosen experts for every token."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.layer = nnx.GLU(WIDTH, 2 * 32, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Outputs [N, W] for tokens [N, W], and 1."""
        return self.layer(x), jnp.ones(())


def slowly(layer: MixtureOfExperts, x: jax.Array) -> np.ndarray:
    """The layer's result, computed one token and one expert at a time."""
    experts, weights, _ = layer.route(x)
    y = np.zeros(x.shape)
    for n, token in enumerate(x):
        for e, weight in zip(experts[n], weights[n], strict=True):
            hidden = nnx.silu(token @ layer.gate[e]) * (token @ layer.up[e])
            y[n] += weight * (hidden @ layer.down[e])
    return y


class Task:
    """Tokens around one of eight centers; the nearest one determines the function."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 1))
        self.centers = rng.normal(size=(KINDS, WIDTH))
        self.maps = rng.normal(size=(KINDS, WIDTH, WIDTH)) / 2

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
        """Tokens [N, W], their outputs [N, W], and their kinds [N]."""
        kinds = rng.integers(0, KINDS, count)
        x = self.centers[kinds] + rng.normal(0, 0.5, (count, WIDTH))
        y = np.tanh(np.einsum("nw,nwv->nv", x, self.maps[kinds]))
        return x.astype(np.float32), y.astype(np.float32), kinds


@nnx.jit
def train_step(model: Any, optimizer: nnx.Optimizer, x: np.ndarray, y: np.ndarray) -> jax.Array:
    """One gradient step, in place; returns the mean squared error."""

    def loss_fn(model: Any) -> tuple[jax.Array, jax.Array]:
        output, balance = model(jnp.asarray(x))
        error = jnp.mean((output - y) ** 2)
        return error + 0.01 * balance, error

    (_, error), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model)
    optimizer.update(model, grads)
    return error


def train(model: Any, task: Task, steps: int, seed: int, name: str) -> list[float]:
    """Trains until the last step, or until Ctrl-C; returns the errors."""
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    optimizer = nnx.Optimizer(model, adam, wrt=nnx.Param)
    rng = np.random.default_rng(seed)
    errors: list[float] = []
    with stop_on_ctrl_c() as stop:
        while len(errors) < steps and not stop.is_set():
            x, y, _ = task.draw(rng, 256)
            errors.append(float(train_step(model, optimizer, x, y)))
            text = f"{name} error {np.mean(errors[-20:]):.4f}"
            show_progress(len(errors), steps, text, keep=len(errors) % max(1, steps // 5) == 0)
    return errors


def main() -> int:
    """Trains and compares both models; returns the exit status, 130 after Ctrl-C."""
    options = read_options(__doc__.partition("\n")[0], steps=1000)
    steps = options.steps or (20 if options.tiny else 1000)
    task, rngs = Task(options.seed), nnx.Rngs(options.seed)
    mixture = MixtureOfExperts(WIDTH, 32, experts=8, chosen=2, rngs=rngs)
    x, y, kinds = task.draw(np.random.default_rng((options.seed, 2)), 2000)
    gap = np.abs(
        np.asarray(mixture(jnp.asarray(x[:20]))[0]) - slowly(mixture, jnp.asarray(x[:20]))
    ).max()
    print(f"The sorted tokens give what a loop over tokens and experts gives, within {gap:.1e}.")

    dense = Dense(rngs=rngs)
    done = [
        train(model, task, steps, options.seed, name)
        for name, model in (("mixture", mixture), ("dense", dense))
    ]
    chosen = np.asarray(mixture.route(jnp.asarray(x))[0])  # [N, K]
    print("kind        share of its tokens that each expert sees, in percent")
    for kind in range(KINDS):
        seen = np.bincount(chosen[kinds == kind].ravel(), minlength=8) / (kinds == kind).sum()
        print(f"{kind:4}       ", " ".join(f"{100 * part:4.0f}" for part in seen))
    errors = [float(jnp.mean((model(jnp.asarray(x))[0] - y) ** 2)) for model in (mixture, dense)]
    print(f"error      {errors[0]:.4f} of the mixture, {errors[1]:.4f} of the dense layer")
    return 130 if min(map(len, done)) < steps else 0


if __name__ == "__main__":
    sys.exit(main())
