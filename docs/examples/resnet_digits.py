"""A small residual network with batch normalization learns to read handwritten digits.

    python docs/examples/resnet_digits.py

BatchNorm has two kinds of variables: parameters, which the optimizer changes, and running averages
of the activations' mean and variance, which each training step returns as the collection
"batch_stats" and which replace the batch's own statistics when the network is used. Both are kept
in the training state. The final figure is the accuracy on the fifth of the digits that was held
out, next to that of a nearest-neighbor classifier. The program needs linnet, optax, scikit-learn
and matplotlib, and no network: the 1,797 scans of 8x8 pixels come with scikit-learn.

Shapes: B batch, 8x8 pixels, C channels, 10 classes.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.style
import numpy as np
import optax
from matplotlib.figure import Figure
from program import BLUE, ORANGE, read_options, replacing, show_progress, stop_on_ctrl_c, tidy
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import linnet.linen as nn
from linnet import struct

Variables = dict[str, Any]


# The model --------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions with a shortcut connection."""

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = partial(nn.Conv, self.channels, use_bias=False)  # the norm after it has a bias
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        y = conv((3, 3), strides=self.stride)(x)  # [B, 8/stride, 8/stride, C]
        y = nn.relu(norm()(y))
        y = conv((3, 3))(y)
        y = norm(scale_init=nn.initializers.zeros)(y)  # at first, only the shortcut counts
        if x.shape != y.shape:
            x = norm()(conv((1, 1), strides=self.stride)(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Three stages, the later ones with fewer pixels and more channels."""

    channels: int
    blocks: int  # in each stage

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Logits [B, 10], and the features [B, 4C] from which they come."""
        x = nn.Conv(self.channels, (3, 3), use_bias=False)(x)  # [B, 8, 8, C]
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        for stage in range(3):  # [B, 8, 8, C], [B, 4, 4, 2C], [B, 2, 2, 4C]
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(self.channels * 2**stage, stride)(x, train)
        features = x.mean(axis=(1, 2))  # [B, 4C]
        return nn.Dense(10)(features), features


# The data ---------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Images [B, 8, 8, 1], from 0 for paper to 1 for ink, and labels [B]."""

    images: np.ndarray
    labels: np.ndarray


def load_data() -> tuple[Digits, Digits]:
    """Training and held-out digits: a fifth of each class, the same every time."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    labels = digits.target.astype(np.int32)
    images, held_images, labels, held_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return Digits(images, labels), Digits(held_images, held_labels)


def batches(digits: Digits, size: int, rng: np.random.Generator) -> Iterator[Digits]:
    """Infinitely many batches, each image shifted by up to a pixel in each direction."""
    padded = np.pad(digits.images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    while True:
        order = rng.permutation(len(padded))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            y, x = rng.integers(0, 3, (2, size, 1, 1))
            rows, columns = y + np.arange(8)[:, None], x + np.arange(8)
            yield Digits(padded[chosen[:, None, None], rows, columns], digits.labels[chosen])


# Training ---------------------------------------------------------------------------------------


class TrainState(struct.PyTreeNode):
    """The state that a step changes, and the model and optimizer, which are constant."""

    params: Variables
    batch_stats: Variables
    opt_state: optax.OptState
    model: ResNet = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)


@jax.jit
def train_step(state: TrainState, batch: Digits) -> tuple[TrainState, jax.Array]:
    """One gradient step; returns the new state and the batch's loss."""

    def loss_fn(params: Variables) -> tuple[jax.Array, Variables]:
        (logits, _), updated = state.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch.images,
            train=True,
            mutable=["batch_stats"],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return losses.mean(), updated["batch_stats"]

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = state.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state), loss


@partial(jax.jit, static_argnames="own_statistics")
def predict(
    state: TrainState, images: np.ndarray, own_statistics: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Logits and features, with the running averages or with the statistics of these images."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    if not own_statistics:
        return state.model.apply(variables, images)
    return state.model.apply(variables, images, train=True, mutable=["batch_stats"])[0]


class Point(NamedTuple):
    """A point on the learning curve: the training loss, and accuracies on the held-out digits."""

    step: int
    loss: float
    running: float  # with the running averages, which is how the network is used
    own: float  # with the held-out digits' own statistics


def train(
    model: ResNet, digits: Digits, held_out: Digits, steps: int, batch: int, seed: int
) -> tuple[TrainState, list[Point]]:
    """Trains for `steps`, or until Ctrl-C; returns the last state and the learning curve."""
    variables = model.init(jax.random.key(seed), digits.images[:1])
    rate = optax.cosine_onecycle_schedule(steps, 3e-3)
    optimizer = optax.adamw(rate, weight_decay=1e-2)
    state = TrainState(
        variables["params"],
        variables["batch_stats"],
        optimizer.init(variables["params"]),
        model,
        optimizer,
    )
    source = batches(digits, batch, np.random.default_rng(seed))
    curve: list[Point] = []
    recent: list[float] = []
    with stop_on_ctrl_c() as stop:
        for step in range(1, steps + 1):
            state, loss = train_step(state, next(source))
            recent.append(float(loss))
            ends = step % max(1, steps // 20) == 0 or step == steps or stop.is_set()
            if ends:
                accuracies = [
                    float(
                        (
                            predict(state, held_out.images, own)[0].argmax(-1) == held_out.labels
                        ).mean()
                    )
                    for own in (False, True)
                ]
                curve.append(Point(step, float(np.mean(recent)), *accuracies))
                recent.clear()
            if curve:
                text = f"loss {curve[-1].loss:.4f}  held out {curve[-1].running:.3f}"
                show_progress(step, steps, text, keep=ends)
            if stop.is_set():
                break
    return state, curve


# The picture ------------------------------------------------------------------------------------


def draw(
    path: Path, curve: list[Point], held_out: Digits, predicted: np.ndarray, features: np.ndarray
) -> None:
    """Plots the learning curve, and the held-out digits, placed by the network's features."""
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
        learning, plane = figure.subplots(1, 2)

        steps = [point.step for point in curve]
        for field, color, label in (
            ("own", ORANGE, "by the batch's own statistics"),
            ("running", BLUE, "by the running averages"),
        ):
            values = [getattr(point, field) for point in curve]
            learning.plot(steps, values, "o-", ms=3, color=color, label=label)
        learning.set(ylim=(0, 1.03), xlim=(0, None))
        learning.legend(frameon=False, loc="lower right")
        tidy(learning, "Accuracy, held out", "step")

        # The plane in which the classes' centers lie farthest apart (principal components).
        centers = np.stack([features[held_out.labels == label].mean(0) for label in range(10)])
        directions = np.linalg.svd(centers - centers.mean(0), full_matrices=False)[2][:2]
        x, y = directions @ (features - centers.mean(0)).T
        plane.scatter(x, y, s=0)
        colors = matplotlib.colormaps["tab10"](held_out.labels)
        for i, label in enumerate(held_out.labels):
            plane.text(x[i], y[i], str(label), color=colors[i], size=8, ha="center", va="center")
        wrong = predicted != held_out.labels
        plane.plot(x[wrong], y[wrong], "o", mfc="none", color="black", ms=14, label="misread")
        if wrong.any():
            plane.legend(frameon=False)
        tidy(plane, "Held-out digits in the plane of the features", "")
        plane.grid(visible=False)
        plane.set(xticks=[], yticks=[])
        plane.spines[:].set_visible(False)
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


# The program ------------------------------------------------------------------------------------


def main() -> int:
    """Trains and evaluates a model; returns the exit status, 130 after Ctrl-C, as in shells."""
    options = read_options(__doc__.partition("\n")[0], steps=600)
    digits, held_out = load_data()
    model = ResNet(channels=8, blocks=1) if options.tiny else ResNet(channels=16, blocks=2)
    steps, batch = (options.steps or 40, 32) if options.tiny else (options.steps or 600, 64)
    print(model.tabulate(jax.random.key(0), held_out.images[:1], depth=1))
    print(f"{len(digits.images)} digits to learn from, {len(held_out.images)} held out")

    start = time.perf_counter()
    state, curve = train(model, digits, held_out, steps, batch, options.seed)
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := curve[-1].step < steps:
        print(f"Stopped after step {curve[-1].step} of {steps}, writing partial results.")

    logits, features = map(np.asarray, predict(state, held_out.images))
    predicted = logits.argmax(-1)
    right = int((predicted == held_out.labels).sum())
    neighbor = KNeighborsClassifier(1).fit(digits.images.reshape(-1, 64), digits.labels)
    neighbor_right = (neighbor.predict(held_out.images.reshape(-1, 64)) == held_out.labels).sum()
    picture = options.out / "resnet_digits.png"
    draw(picture, curve, held_out, predicted, features)
    print(f"picture  {picture}")
    print(
        f"accuracy {right / len(predicted):.4f}: {right} of {len(predicted)} held-out digits, ",
        end="",
    )
    print(f"nearest neighbor {neighbor_right}")
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
