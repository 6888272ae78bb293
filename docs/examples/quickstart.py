"""A first model: a small convolutional network learns to read handwritten digits.

    python docs/examples/quickstart.py

Read it from top to bottom: the model, the data, the training step, the loop, the output, the
program. It needs linnet, optax, scikit-learn, matplotlib and safetensors, and no network: the 1,797
scans of 8x8 pixels come with scikit-learn. The learning curves, the digits that are misread and the
parameters end up in the folder `out` next to this file, or in the one that `--out` names.

Shapes: B batch, 8x8 pixels, C channels, 10 classes.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import io
import math
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.style
import numpy as np
import optax
import safetensors.numpy as safetensors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import linnet.linen as nn
from linnet import struct
from linnet.struct import traverse_util

Array = jax.Array | np.ndarray
Params = dict[str, Any]
BATCH = 64
BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart by the color-blind, too


# The model --------------------------------------------------------------------------------------


class CNN(nn.Module):
    """Three convolutions and two dense layers, with Dropout before the dense ones."""

    channels: int = 32
    dropout: float = 0.25

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Conv(self.channels, (3, 3))(x))  # [B, 8, 8, C]
        x = nn.relu(nn.Conv(self.channels, (3, 3))(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))  # [B, 4, 4, C]
        x = nn.relu(nn.Conv(2 * self.channels, (3, 3))(x))  # [B, 4, 4, 2C]
        x = nn.max_pool(x, (2, 2), strides=(2, 2))  # [B, 2, 2, 2C]
        x = x.reshape(x.shape[0], -1)  # [B, 8C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.relu(nn.Dense(4 * self.channels)(x))  # [B, 4C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(10)(x)  # [B, 10], logits


model = CNN()


# The data ---------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Images [B, 8, 8, 1], from 0 for paper to 1 for ink, and labels [B]."""

    images: Array
    labels: Array


def load_data() -> tuple[Digits, Digits]:
    """Training digits and held-out digits, which are a fifth of each class and never change."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    labels = digits.target.astype(np.int32)
    images, held_images, labels, held_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return Digits(images, labels), Digits(held_images, held_labels)


def batches(digits: Digits, rng: np.random.Generator) -> Iterator[Digits]:
    """An epoch in random order, each batch shifted by up to a pixel in each direction."""
    padded = np.pad(digits.images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    order = rng.permutation(len(padded))
    for start in range(0, len(order) - BATCH + 1, BATCH):  # the last few digits are left out
        chosen = order[start : start + BATCH]
        y, x = rng.integers(0, 3, size=2)
        yield Digits(padded[chosen, y : y + 8, x : x + 8], digits.labels[chosen])


# The training step ------------------------------------------------------------------------------


class TrainState(struct.PyTreeNode):
    """The variables that a step changes, and the optimizer, which is constant."""

    params: Params
    opt_state: optax.OptState
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)


@jax.jit
def train_step(
    state: TrainState, batch: Digits, key: jax.Array
) -> tuple[TrainState, jax.Array, jax.Array]:
    """One gradient step; returns the new state, the batch's loss and accuracy."""

    def loss_fn(params: Params) -> tuple[jax.Array, jax.Array]:
        logits = model.apply({"params": params}, batch.images, train=True, rngs={"dropout": key})
        return score(logits, batch.labels)

    (loss, accuracy), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = state.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(params=params, opt_state=opt_state), loss, accuracy


@jax.jit
def predict(params: Params, images: Array) -> jax.Array:
    """Logits [B, 10]; without `train`, Dropout drops nothing and needs no key."""
    logits: jax.Array = model.apply({"params": params}, images)
    return logits


def score(logits: Array, labels: Array) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy (in nats), and accuracy."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, (logits.argmax(-1) == labels).mean()


# The loop ---------------------------------------------------------------------------------------


class Epoch(NamedTuple):
    """A point on the learning curves: means over the epoch's steps, and on the held-out digits."""

    end: float  # counted in epochs; a fraction in the middle of one
    loss: float
    accuracy: float
    held_out_loss: float = math.nan
    held_out_accuracy: float = math.nan


def train(digits: Digits, held_out: Digits, epochs: int, seed: int) -> tuple[Params, list[Epoch]]:
    """Trains for `epochs` epochs, or until Ctrl-C; returns the parameters and the curves."""
    rng = np.random.default_rng(seed)
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    params = model.init(init_key, digits.images[:1])["params"]
    steps = len(digits.images) // BATCH
    rate = optax.cosine_decay_schedule(3e-3, decay_steps=epochs * steps)
    optimizer = optax.adamw(rate, weight_decay=1e-2)
    state = TrainState(params, optimizer.init(params), optimizer)
    history: list[Epoch] = []
    held_out_scores: list[float] = []
    with stop_on_ctrl_c() as stop:
        for epoch in range(epochs):
            sums = np.zeros(2)  # of loss and accuracy
            for step, batch in enumerate(batches(digits, rng), start=1):
                key = jax.random.fold_in(dropout_key, epoch * steps + step)
                state, loss, accuracy = train_step(state, batch, key)
                sums += float(loss), float(accuracy)
                now = Epoch(epoch + step / steps, *sums / step, *held_out_scores)
                show_progress(now, epochs)
                if stop.is_set():
                    break
            logits = predict(state.params, held_out.images)
            held_out_scores = [float(value) for value in score(logits, held_out.labels)]
            history.append(Epoch(*now[:3], *held_out_scores))
            show_progress(history[-1], epochs, epoch_ends=True)
            if stop.is_set():
                break
    return state.params, history


# The output -------------------------------------------------------------------------------------


def save(path: Path, params: Params) -> None:
    """Writes parameters as safetensors, under names such as 'Conv_0/kernel'."""
    flat = traverse_util.flatten_dict(params, sep="/")
    with replacing(path) as part:
        part.write_bytes(safetensors.save({k: np.asarray(v) for k, v in flat.items()}))


def load(path: Path) -> Params:
    """Reads the parameters that `save` wrote."""
    return traverse_util.unflatten_dict(safetensors.load_file(path), sep="/")


def predict_in_new_process(path: Path) -> list[int]:
    """Predictions for the held-out digits in a new process, which loads the parameters."""
    command = [sys.executable, __file__, "--predict-with", str(path)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [int(word) for word in answer.split()]


def draw(path: Path, history: list[Epoch], held_out: Digits, logits: np.ndarray) -> None:
    """Draws the learning curves, and below them the held-out digits that are misread."""
    predicted = logits.argmax(-1)
    wrong = np.flatnonzero(predicted != held_out.labels)
    title = f"{len(wrong) or 'None'} of {len(predicted)} held-out digits misread"
    if len(wrong) > 20:
        title += ", the 20 it was surest of"
    wrong = wrong[np.argsort(-nn.softmax(logits).max(-1)[wrong])][:20]  # the surest first
    rows = math.ceil(len(wrong) / 10)
    heights = (3.4, 0.4 + 1.35 * rows)  # inches
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(9, sum(heights)), dpi=150, layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False).flat
        for axes, name in zip(above.subplots(1, 2), ("loss", "accuracy"), strict=True):
            draw_curves(axes, name, history)
        below.suptitle(title, x=0.004, ha="left", weight="bold")
        for place in range(10 * rows):
            axes = below.add_subplot(rows, 10, place + 1)
            if place < len(wrong):
                i = wrong[place]
                axes.imshow(held_out.images[i, ..., 0], cmap="gray_r", vmin=0, vmax=1)
                axes.set_title(f"true {held_out.labels[i]}", size=9)
                axes.set_xlabel(f"predicted {predicted[i]}", size=9)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_color("#b8bcc0")
            else:
                axes.set_axis_off()  # keeps its place, so that all digits have the same size
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


def draw_curves(axes: Axes, name: str, history: list[Epoch]) -> None:
    """Draws the loss or the accuracy, in training and on the held-out digits."""
    ends = [epoch.end for epoch in history]
    for label, field, color in (
        ("training, with Dropout", name, ORANGE),
        ("held out", f"held_out_{name}", BLUE),
    ):
        values = [getattr(epoch, field) for epoch in history]
        axes.plot(ends, values, "o-", markersize=3, color=color, label=label)
    axes.set_title(name.capitalize(), loc="left", weight="bold")
    axes.set_xlabel("epoch")
    axes.set_xlim(0, 1.03 * max(1, ends[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    if name == "accuracy":
        axes.set_ylim(0, 1.03)
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#e4e6e8")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


# The program ------------------------------------------------------------------------------------


def main() -> int:
    """Trains, saves and checks; returns the exit status, 130 after Ctrl-C, as in shells."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="where to write")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--predict-with", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs: expected 1 or more, got {args.epochs}")
    digits, held_out = load_data()
    if args.predict_with:  # this is the new process
        print(*predict(load(args.predict_with), held_out.images).argmax(-1))
        return 0

    folder = args.out.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {error}")
    picture, parameters = folder / "digits.png", folder / "digits.safetensors"
    if isinstance(sys.stdout, io.TextIOWrapper):  # line by line through a pipe, in any encoding
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
    print(model.tabulate(jax.random.key(0), held_out.images[:1]))
    print(f"{len(digits.images)} digits to learn from, {len(held_out.images)} held out")

    start = time.perf_counter()
    params, history = train(digits, held_out, args.epochs, args.seed)
    print(f"\nTrained for {time.perf_counter() - start:.1f} s, compilation included.")
    if stopped := history[-1].end < args.epochs:
        print(f"Stopped in epoch {len(history)} of {args.epochs}, writing partial results.")

    logits = np.asarray(predict(params, held_out.images))
    save(parameters, params)
    draw(picture, history, held_out, logits)
    if predict_in_new_process(parameters) != logits.argmax(-1).tolist():
        sys.exit(f"error: a new process that loads {parameters} predicts something else")
    print("A new process loaded the parameters: its predictions are identical.")
    print(f"picture    {picture}")
    print(f"parameters {parameters}")
    print(f"accuracy {history[-1].held_out_accuracy:.4f}")
    return 130 if stopped else 0


# Small helpers ----------------------------------------------------------------------------------


def show_progress(now: Epoch, epochs: int, epoch_ends: bool = False) -> None:
    """On a terminal, a line that is overwritten; elsewhere, one line per epoch."""
    number = f"epoch {math.ceil(now.end):2}/{epochs}"
    text = f"loss {now.loss:.4f}  accuracy {now.accuracy:.3f}"
    if not math.isnan(now.held_out_accuracy):
        text += f"  held out {now.held_out_accuracy:.3f}"
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        filled = int(20 * now.end / epochs)
        line = f"{number} {'█' * filled}{'░' * (20 - filled)} {text}"
        print(f"\r{line[: columns - 1]}", end="", flush=True)
    elif epoch_ends:
        print(f"{number}  {text}")


@contextmanager
def stop_on_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second ends the program immediately."""
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces `path` once it is complete."""
    part = path.with_stem(f"{path.stem}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
