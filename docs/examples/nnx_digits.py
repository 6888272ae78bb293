"""A small convolutional network learns to read handwritten digits as a stateful module.

    python docs/examples/nnx_digits.py

In `linnet.nnx` a model holds its variables: parameters, the running averages of BatchNorm, the
random streams of Dropout. A training step changes them in place, even through `nnx.jit`; nothing is
passed in and returned by name. `model.train()` and `model.eval()` switch all layers at once between
training and evaluation, and `nnx.MultiMetric` adds up loss and accuracy inside the compiled
step. The final figure is the accuracy on the fifth of the digits that was held out, next to that of
the nearest neighbor. The program needs linnet, optax, scikit-learn and matplotlib, and no network:
the 1,797 scans of 8x8 pixels come with scikit-learn.

Shapes: B batch, 8x8 pixels, C channels, 10 classes.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from matplotlib.figure import Figure
from program import BLUE, GRAY, ORANGE, read_options, replacing, show_progress, stop_on_ctrl_c, tidy
from resnet_digits import Digits, batches, load_data
from sklearn.neighbors import KNeighborsClassifier

from linnet import nnx

# The model --------------------------------------------------------------------------------------


class Stage(nnx.Module):
    """A convolution with normalization, then 2x2 max pooling."""

    def __init__(self, channels_in: int, channels: int, *, rngs: nnx.Rngs) -> None:
        # Without a bias: the norm after it has one.
        self.conv = nnx.Conv(channels_in, channels, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.conv(x)))  # [B, H, W, C]
        return nnx.max_pool(x, (2, 2), (2, 2))  # [B, H/2, W/2, C]


class CNN(nnx.Module):
    """Two stages of convolutions, and two dense layers."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.stages = [
            Stage(1, channels, rngs=rngs),
            Stage(channels, 2 * channels, rngs=rngs),
        ]
        self.hidden = nnx.Linear(8 * channels, 8 * channels, rngs=rngs)
        self.dropout = nnx.Dropout(0.4, rngs=rngs)
        self.logits = nnx.Linear(8 * channels, 10, rngs=rngs)

    def __call__(self, images: jax.Array | np.ndarray) -> jax.Array:
        """Logits [B, 10] of images [B, 8, 8, 1]."""
        x = jnp.asarray(images)
        for stage in self.stages:  # [B, 4, 4, C], [B, 2, 2, 2C]
            x = stage(x)
        x = x.reshape(x.shape[0], -1)  # [B, 8C]
        return self.logits(self.dropout(nnx.relu(self.hidden(x))))


# Training ---------------------------------------------------------------------------------------


def make_metrics() -> nnx.MultiMetric:
    return nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))


def loss_fn(model: CNN, batch: Digits) -> tuple[jax.Array, jax.Array]:
    """The mean loss, and the logits."""
    logits = model(batch.images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    return losses.mean(), logits


@nnx.jit
def train_step(
    model: CNN, optimizer: nnx.Optimizer, metrics: nnx.MultiMetric, batch: Digits
) -> None:
    """One gradient step; changes the model, the optimizer and the metrics in place."""
    (loss, logits), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model, batch)
    optimizer.update(model, grads)
    metrics.update(logits=logits, labels=batch.labels, loss=loss)


@nnx.jit
def eval_step(model: CNN, metrics: nnx.MultiMetric, batch: Digits) -> jax.Array:
    """Adds the batch to the metrics; returns its logits."""
    loss, logits = loss_fn(model, batch)
    metrics.update(logits=logits, labels=batch.labels, loss=loss)
    return logits


class Point(NamedTuple):
    """A point of the learning curve."""

    step: int
    loss: float
    train: float  # accuracy on each batch since the last point, before training on it
    held_out: float  # accuracy on the held-out digits


def train(
    model: CNN, digits: Digits, held_out: Digits, steps: int, batch: int, seed: int
) -> list[Point]:
    """Trains `model` for `steps`, or until Ctrl-C; returns the learning curve."""
    rate = optax.cosine_onecycle_schedule(steps, 4e-3)
    optimizer = nnx.Optimizer(model, optax.adamw(rate, weight_decay=1e-2), wrt=nnx.Param)
    learned, tested = make_metrics(), make_metrics()
    source = batches(digits, batch, np.random.default_rng(seed))
    curve: list[Point] = []
    with stop_on_ctrl_c() as stop:
        for step in range(1, steps + 1):
            model.train()  # BatchNorm uses the batch's own statistics, and Dropout drops
            train_step(model, optimizer, learned, next(source))
            ends = step % max(1, steps // 20) == 0 or step == steps or stop.is_set()
            if ends:
                model.eval()  # BatchNorm uses its running averages, and nothing is dropped
                eval_step(model, tested, held_out)
                now = learned.compute()
                right = tested.compute()["accuracy"]
                curve.append(Point(step, float(now["loss"]), float(now["accuracy"]), float(right)))
                learned.reset()
                tested.reset()
            if curve:
                text = f"loss {curve[-1].loss:.4f}  held out {curve[-1].held_out:.3f}"
                show_progress(step, steps, text, keep=ends)
            if stop.is_set():
                break
    return curve


# The picture ------------------------------------------------------------------------------------


def draw(path: Path, curve: list[Point], held_out: Digits, logits: np.ndarray) -> None:
    """The learning curve, and the held-out digits that are misread or barely read correctly."""
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
        ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(5, 6))

        learning = left.subplots()
        steps = [point.step for point in curve]
        for field, color, label in (
            ("train", ORANGE, "in training, with Dropout and moved images"),
            ("held_out", BLUE, "held out"),
        ):
            values = [getattr(point, field) for point in curve]
            learning.plot(steps, values, "o-", ms=3, color=color, label=label)
        learning.set(ylim=(0, 1.03), xlim=(0, None))
        learning.legend(frameon=False, loc="lower right")
        tidy(learning, "Accuracy", "step")

        probabilities = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        predicted = logits.argmax(-1)
        wrong = predicted != held_out.labels
        of_label = probabilities[np.arange(len(logits)), held_out.labels]
        right.suptitle(
            f"Hardest to read; orange: misread, {wrong.sum()} of {len(wrong)} held out",
            x=0.02,
            ha="left",
            weight="bold",
        )
        # The wrong ones first; in each group, those whose label seemed least likely come first.
        order = np.lexsort((of_label, ~wrong))
        for axes, i in zip(right.subplots(3, 5).flat, order, strict=False):
            axes.imshow(held_out.images[i, ..., 0], cmap="gray_r", vmin=0, vmax=1)
            text = f"{held_out.labels[i]} read as {predicted[i]}"
            axes.set_title(
                f"{text}\n{probabilities[i].max():.0%} sure",
                size=9,
                color=ORANGE if wrong[i] else GRAY,
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#e4e6e8")
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


# The program ------------------------------------------------------------------------------------


def main() -> int:
    """Trains, evaluates and draws; returns the exit status, 130 after Ctrl-C, as in shells."""
    options = read_options(__doc__.partition("\n")[0], steps=600)
    digits, held_out = load_data()
    model = CNN(channels=8 if options.tiny else 32, rngs=nnx.Rngs(options.seed))
    steps, batch = (options.steps or 60, 32) if options.tiny else (options.steps or 600, 64)
    print(nnx.tabulate(model, held_out.images[:1], depth=2))
    print(f"{len(digits.images)} digits to learn from, {len(held_out.images)} held out")

    start = time.perf_counter()
    curve = train(model, digits, held_out, steps, batch, options.seed)
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := curve[-1].step < steps:
        print(f"Stopped after step {curve[-1].step} of {steps}, writing partial results.")

    model.eval()
    logits = np.asarray(eval_step(model, make_metrics(), held_out))
    right = int((logits.argmax(-1) == held_out.labels).sum())
    neighbor = KNeighborsClassifier(1).fit(digits.images.reshape(-1, 64), digits.labels)
    neighbor_right = (neighbor.predict(held_out.images.reshape(-1, 64)) == held_out.labels).sum()
    picture = options.out / "nnx_digits.png"
    draw(picture, curve, held_out, logits)
    print(f"picture  {picture}")
    print(
        f"accuracy {right / len(logits):.4f}: {right} of {len(logits)} held-out digits, ",
        end="",
    )
    print(f"nearest neighbor {neighbor_right}")
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
