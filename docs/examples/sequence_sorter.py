"""A bidirectional LSTM learns to sort numbers, from examples of different lengths.

    python docs/examples/sequence_sorter.py

A batch holds sequences of up to 12 numbers from 0 to 99, padded at the end; `seq_lengths`
tells the layers where each one ends, so that the padding changes nothing. The output at step t is
the network's guess at the t-th smallest number. The final figure is the share of new sequences that
it sorts without a single mistake; the picture shows it for each length, including some that never
occurred in training. The program needs linnet, optax and matplotlib.

Shapes: B batch, T time (places in a sequence), W width, N = 100 numbers.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from program import BLUE, GRAY, ORANGE, read_options, replacing, show_progress, stop_on_ctrl_c, tidy

import linnet.linen as nn
from linnet import struct

Params = dict[str, Any]
NUMBERS = 100
LONGEST = 12  # in training
LONGER = 16  # in the test


# The model --------------------------------------------------------------------------------------


class Sorter(nn.Module):
    """Two layers: after the first, every step has information from all others, on both sides."""

    width: int

    @nn.compact
    def __call__(self, numbers: jax.Array, lengths: jax.Array) -> jax.Array:
        """Logits [B, T, N] for `numbers` [B, T], of which the first `lengths` [B] count."""
        x = nn.Embed(NUMBERS, self.width)(numbers)  # [B, T, W]
        for _ in range(2):
            forward = nn.RNN(nn.LSTMCell(self.width))
            backward = nn.RNN(nn.LSTMCell(self.width))
            x = nn.Bidirectional(forward, backward)(x, seq_lengths=lengths)  # [B, T, 2W]
        return nn.Dense(NUMBERS)(x)  # [B, T, N]


# The data ---------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Sequences and the sorted sequences, [B, T], and their lengths, [B]."""

    numbers: np.ndarray
    ordered: np.ndarray
    lengths: np.ndarray


def make_batch(rng: np.random.Generator, lengths: np.ndarray, padded: int) -> Batch:
    """Random sequences of these lengths; the padding is random, too, and should not matter."""
    numbers = rng.integers(0, NUMBERS, (len(lengths), padded), dtype=np.int32)
    beyond = np.arange(padded) >= lengths[:, None]  # [B, T], the padding
    ordered = np.sort(np.where(beyond, NUMBERS, numbers), axis=1)
    return Batch(numbers, np.where(beyond, 0, ordered), lengths)


# Training ---------------------------------------------------------------------------------------


class TrainState(struct.PyTreeNode):
    """The state that a step changes, and the model and optimizer, which are constant."""

    params: Params
    opt_state: optax.OptState
    model: Sorter = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)


@jax.jit
def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
    """One gradient step; returns the new state and the loss."""

    def loss_fn(params: Params) -> jax.Array:
        logits = state.model.apply({"params": params}, batch.numbers, batch.lengths)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.ordered)  # [B, T]
        counts = jnp.arange(losses.shape[1]) < batch.lengths[:, None]  # not the padding
        return losses.mean(where=counts)

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    updates, opt_state = state.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(params=params, opt_state=opt_state), loss


@jax.jit
def predict(state: TrainState, batch: Batch) -> jax.Array:
    """Probabilities [B, T, N]."""
    return nn.softmax(state.model.apply({"params": state.params}, batch.numbers, batch.lengths))


def is_sorted(state: TrainState, batch: Batch) -> np.ndarray:
    """Whether each sequence comes out without a mistake, [B]."""
    guesses = np.asarray(predict(state, batch).argmax(-1))
    beyond = np.arange(guesses.shape[1]) >= batch.lengths[:, None]
    return ((guesses == batch.ordered) | beyond).all(axis=1)


class Point(NamedTuple):
    """A point of the learning curve."""

    step: int
    loss: float
    sorted: float  # the share of held-out sequences


def train(model: Sorter, steps: int, batch: int, seed: int) -> tuple[TrainState, list[Point]]:
    """Trains for `steps`, or until Ctrl-C; returns the last state and the learning curve."""
    rng, held_out_rng = np.random.default_rng(seed).spawn(2)
    held_out = make_batch(held_out_rng, held_out_rng.integers(1, LONGEST + 1, 512), LONGEST)
    params = model.init(jax.random.key(seed), held_out.numbers[:1], held_out.lengths[:1])["params"]
    rate = optax.cosine_onecycle_schedule(steps, 1e-2)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    state = TrainState(params, optimizer.init(params), model, optimizer)
    curve: list[Point] = []
    recent: list[float] = []
    with stop_on_ctrl_c() as stop:
        for step in range(1, steps + 1):
            lengths = rng.integers(1, LONGEST + 1, batch)
            state, loss = train_step(state, make_batch(rng, lengths, LONGEST))
            recent.append(float(loss))
            ends = step % max(1, steps // 20) == 0 or step == steps or stop.is_set()
            if ends:
                share = float(is_sorted(state, held_out).mean())
                curve.append(Point(step, float(np.mean(recent)), share))
                recent.clear()
            if curve:
                text = f"loss {curve[-1].loss:.4f}  sorted, held out {curve[-1].sorted:.3f}"
                show_progress(step, steps, text, keep=ends)
            if stop.is_set():
                break
    return state, curve


def accuracy_by_length(state: TrainState, count: int, seed: int) -> np.ndarray:
    """The share of `count` new sequences that are sorted, for each length from 1 to LONGER."""
    rng = np.random.default_rng([seed, 1])  # a separate stream, not that of the training sequences
    return np.array(
        [
            is_sorted(state, make_batch(rng, np.full(count, length), LONGER)).mean()
            for length in range(1, LONGER + 1)
        ]
    )


# The picture ------------------------------------------------------------------------------------


def draw(
    path: Path, curve: list[Point], shares: np.ndarray, example: Batch, probabilities: np.ndarray
) -> None:
    """The learning curve, the share sorted for each length, and one sequence being sorted."""
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(11, 7), dpi=150, layout="constrained")
        (learning, lengths), (before, after) = figure.subplots(2, 2)

        steps = [point.step for point in curve]
        learning.plot(steps, [point.sorted for point in curve], "o-", color=BLUE, ms=3)
        learning.set(ylim=(0, 1.03), xlim=(0, None))
        tidy(learning, "Sorted without a mistake, held out", "step")

        colors = [BLUE if length <= LONGEST else ORANGE for length in range(1, LONGER + 1)]
        lengths.bar(range(1, LONGER + 1), shares, color=colors)
        lengths.set(ylim=(0, 1.25), xticks=range(2, LONGER + 1, 2), yticks=np.linspace(0, 1, 6))
        handles = [Patch(color=BLUE), Patch(color=ORANGE)]
        lengths.legend(handles, ["as long as in training", "longer"], frameon=False, ncols=2)
        tidy(lengths, "Sorted without a mistake, by length", "numbers in the sequence")

        length = example.lengths[0]
        places = np.arange(1, length + 1)
        before.plot(places, example.numbers[0, :length], "o", color=GRAY)
        tidy(before, "A new sequence", "place")
        image = after.imshow(
            probabilities[0, :length].T,  # [N, T]
            cmap="Blues",
            vmin=0,
            vmax=1,
            aspect="auto",
            origin="lower",
            extent=(0.5, length + 0.5, -0.5, NUMBERS - 0.5),
        )
        after.plot(places, example.ordered[0, :length], "o", mfc="none", color=ORANGE, label="true")
        figure.colorbar(image, ax=after, label="probability")
        tidy(after, "Its t-th smallest number, as guessed", "t")
        after.legend(frameon=False, loc="upper left")
        for axes in (before, after):
            axes.set(ylim=(-4, NUMBERS + 3), xlim=(0.5, length + 0.5), ylabel="number")
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


# The program ------------------------------------------------------------------------------------


def main() -> int:
    """Trains and evaluates a model; returns the exit status, 130 after Ctrl-C, as in shells."""
    options = read_options(__doc__.partition("\n")[0], steps=2000)
    model = Sorter(width=16 if options.tiny else 128)
    steps, batch, count = (
        (options.steps or 20, 8, 16) if options.tiny else (options.steps or 2000, 128, 500)
    )
    numbers, lengths = jnp.zeros((1, LONGEST), jnp.int32), jnp.array([LONGEST])
    print(model.tabulate(jax.random.key(0), numbers, lengths, depth=1))

    start = time.perf_counter()
    state, curve = train(model, steps, batch, options.seed)
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := curve[-1].step < steps:
        print(f"Stopped after step {curve[-1].step} of {steps}, writing partial results.")

    shares = accuracy_by_length(state, count, options.seed)
    rng = np.random.default_rng([options.seed, 2])
    example = make_batch(rng, np.array([LONGEST - 2]), LONGEST)
    probabilities = np.asarray(predict(state, example))
    n = example.lengths[0]
    print(f"for example {example.numbers[0, :n]}\nbecomes     {probabilities[0, :n].argmax(-1)}")

    picture = options.out / "sequence_sorter.png"
    draw(picture, curve, shares, example, probabilities)
    print(f"picture {picture}")
    print(
        f"sorted  {shares[:LONGEST].mean():.4f} of new sequences of 1 to {LONGEST} numbers, ",
        end="",
    )
    print(f"{shares[LONGEST:].mean():.4f} of longer ones, up to {LONGER}")
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
