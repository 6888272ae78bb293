"""A linen network inside a Keras model learns to read handwritten digits, and is saved and loaded.

    KERAS_BACKEND=jax python docs/examples/keras_digits.py

The convolutions, with batch normalization and dropout, are a linen module; the augmentation before
it and the classifier after it are Keras's own layers. Keras fits, evaluates and saves the model,
and another process loads it and predicts the same values, to the last bit. The final figure is the
accuracy on the fifth of the digits that was held out. The program needs linnet[keras], scikit-learn
and matplotlib, and no network: the 1,797 scans of 8x8 pixels come with scikit-learn.

Shapes: B batch, 8x8 pixels, C channels, 10 classes.
"""

import os
import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import keras
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from program import BLUE, GRAY, ORANGE, read_options, replacing, show_progress, tidy
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import linnet.linen as nn
from linnet.keras_bridge import FlaxLayer

# The model --------------------------------------------------------------------------------------


class Features(nn.Module):
    """Two stages of convolutions; Keras passes `training`."""

    channels: int
    rate: float = 0.2

    @nn.compact
    def __call__(self, inputs: jax.Array, training: bool) -> jax.Array:
        x = inputs  # [B, 8, 8, 1]
        for stage in (1, 2):  # [B, 4, 4, C], [B, 2, 2, 2C]
            x = nn.Conv(stage * self.channels, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not training, momentum=0.9)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)  # [B, 8C]
        return nn.Dropout(self.rate, deterministic=not training)(x)


class Moved(keras.layers.RandomTranslation):  # type: ignore[misc]
    """Keras's layer, marked as one that can be compiled.

    Keras doesn't compile a model with a layer for random augmentation, since not every backend can
    compile such a layer. jax can, and a step then takes a twentieth of the time.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.supports_jit = True


def make_model(channels: int, rate: float) -> keras.Model:
    """Keras's preprocessing, the linen module, and Keras's classifier, compiled."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(1 / 16),  # from 0 for paper to 1 for ink
            Moved(0.12, 0.12, fill_mode="constant"),
            FlaxLayer(Features(channels), name="features"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


# The data ---------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Images [B, 8, 8, 1] from 0 to 16, and labels [B]."""

    images: np.ndarray
    labels: np.ndarray


def load_data() -> tuple[Digits, Digits]:
    """Training and held-out digits: a fifth of each class, the same every time."""
    digits = load_digits()
    images = digits.images.astype(np.float32)[..., None]
    labels = digits.target.astype(np.int32)
    images, held_images, labels, held_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return Digits(images, labels), Digits(held_images, held_labels)


# Training ---------------------------------------------------------------------------------------


class Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Prints a line per epoch where Keras draws no bar; ends training after an epoch on Ctrl-C."""

    def __init__(self, epochs: int, in_epoch: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.in_epoch = in_epoch
        self.before: Any = signal.SIG_DFL

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """From here on, the first Ctrl-C stops training, and the second ends the program."""

        def stop(*_: object) -> None:
            self.model.stop_training = True
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.before = signal.signal(signal.SIGINT, stop)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Shows the progress of training."""
        if logs is not None and not sys.stdout.isatty():
            text = f"loss {logs['loss']:.4f}  held out {logs['val_accuracy']:.3f}"
            done, steps = (epoch + 1) * self.in_epoch, self.epochs * self.in_epoch
            show_progress(done, steps, text, keep=True)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Restores the usual effect of Ctrl-C."""
        signal.signal(signal.SIGINT, self.before)


# Another process --------------------------------------------------------------------------------

LOADING = """
import sys
import keras, numpy
from keras_digits import Features, Moved  # the file only names the classes
model, images, logits = sys.argv[1:]
classes = {"Features": Features, "Moved": Moved}
loaded = keras.saving.load_model(model, custom_objects=classes)
numpy.save(logits, loaded.predict(numpy.load(images), verbose=0))
"""


def predict_elsewhere(model: Path, images: np.ndarray) -> np.ndarray:
    """The predictions of the saved model in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        given, returned = Path(folder, "images.npy"), Path(folder, "logits.npy")
        np.save(given, images)
        command = [sys.executable, "-c", LOADING, str(model), str(given), str(returned)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)}
        subprocess.run(command, check=True, env=environment)
        return np.load(returned)


# The picture ------------------------------------------------------------------------------------


def draw(path: Path, history: dict[str, list[float]], held_out: Digits, logits: np.ndarray) -> None:
    """The learning curve, and the held-out digits about which the model is least sure."""
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
        both: Any = figure.subfigures(1, 2, width_ratios=(5, 6))
        left, right = both

        learning = left.subplots()
        epochs = np.arange(1, len(history["loss"]) + 1)
        for key, color, label in (
            ("accuracy", ORANGE, "in training, with dropout and moved images"),
            ("val_accuracy", BLUE, "held out"),
        ):
            learning.plot(epochs, history[key], "o-", ms=3, color=color, label=label)
        learning.set(ylim=(0, 1.03), xlim=(0, None))
        learning.legend(frameon=False, loc="lower right")
        tidy(learning, "Accuracy", "epoch")

        probabilities = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        of_label = probabilities[np.arange(len(logits)), held_out.labels]
        predicted = logits.argmax(-1)
        right.suptitle(
            "Held out, and hardest to read: label, reading", x=0.02, ha="left", weight="bold"
        )
        for axes, i in zip(right.subplots(3, 5).flat, np.argsort(of_label), strict=False):
            axes.imshow(held_out.images[i, ..., 0], cmap="gray_r", vmin=0, vmax=16)
            wrong = predicted[i] != held_out.labels[i]
            axes.set_title(
                f"{held_out.labels[i]}, {predicted[i]} ({probabilities[i].max():.0%})",
                size=10,
                color=ORANGE if wrong else GRAY,
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#e4e6e8")
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


# The program ------------------------------------------------------------------------------------


def main() -> int:
    """Trains, evaluates, saves and loads a model; returns the exit status, 130 after Ctrl-C."""
    options = read_options(__doc__.partition("\n")[0], steps=500)
    keras.utils.set_random_seed(options.seed)
    digits, held_out = load_data()
    if options.tiny:
        digits = Digits(digits.images[:256], digits.labels[:256])
    channels, batch = (8 if options.tiny else 24), 64
    in_epoch = -(-len(digits.images) // batch)
    steps = options.steps or (20 * in_epoch if options.tiny else 500)
    epochs = -(-steps // in_epoch)
    model = make_model(channels, 3e-3)
    model.summary(line_length=76)
    print(f"{len(digits.images)} digits to learn from, {len(held_out.images)} held out")

    start = time.perf_counter()
    history = model.fit(
        *digits,
        batch_size=batch,
        epochs=epochs,
        validation_data=tuple(held_out),
        verbose=1 if sys.stdout.isatty() else 0,  # Keras's bar, on a terminal
        callbacks=[Progress(epochs, in_epoch)],
    ).history
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := len(history["loss"]) < epochs:
        print(f"Stopped after epoch {len(history['loss'])} of {epochs}, writing partial results.")

    _, accuracy = model.evaluate(*held_out, verbose=0)
    logits = model.predict(held_out.images, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.keras")
        model.save(path)
        again = predict_elsewhere(path, held_out.images)
        size = path.stat().st_size / 1000
    identical = "the same" if np.array_equal(logits, again) else "something else"
    print(f"Saved in {size:.0f} kB, loaded in a new process, which predicts {identical}.")

    picture = options.out / "keras_digits.png"
    draw(picture, history, held_out, logits)
    right = int((logits.argmax(-1) == held_out.labels).sum())
    print(f"picture  {picture}")
    print(f"accuracy {accuracy:.4f}: {right} of {len(logits)} held-out digits")
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
