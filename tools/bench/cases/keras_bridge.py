"""A linen network in a Keras model, against Keras's own FlaxLayer around Flax's network.

Both start from the same variables, in the same model, on a batch of 64 images. The cases measure a
compiled call to `train_on_batch` and to `predict_on_batch`, including Keras's own work. The import
is measured like the others, after Keras, against a limit of 50 ms.
"""

from __future__ import annotations

import functools
import importlib
import os
import tempfile
from typing import Any

import jax
import numpy as np

from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure, timed

from .imports import importing

LIMIT = "50 ms"


def _keras() -> Any:
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="bench-keras-"))
    return importlib.import_module("keras")


@functools.cache
def _network(form: str) -> Any:
    nn = importlib.import_module("linnet.linen" if form == LINNET else "flax.linen")

    class CNN(nn.Module):  # type: ignore[misc, name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, inputs: Any, training: bool) -> Any:  # [B, 28, 28, 1]
            x = inputs
            for channels in (32, 64):  # [B, 14, 14, 32], [B, 7, 7, 64]
                x = nn.Conv(channels, (3, 3), use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not training)(x))
                x = nn.avg_pool(x, (2, 2), (2, 2))
            x = x.reshape(x.shape[0], -1)  # [B, 3136]
            x = nn.relu(nn.Dense(128)(x))
            return nn.Dense(10)(nn.Dropout(0.5, deterministic=not training)(x))

    return CNN()


def _batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 28, 28, 1)).astype("float32"), rng.integers(0, 10, 64)


def _model(form: str) -> Any:
    keras = _keras()
    images, _ = _batch()
    variables = _network(LINNET).init(jax.random.key(0), images[:1], training=False)
    if form == LINNET:
        layer_type = importlib.import_module("linnet.keras_bridge").FlaxLayer
    else:
        layer_type = keras.layers.FlaxLayer
    layer = layer_type(_network(form), variables=variables)
    model = keras.Sequential([keras.Input((28, 28, 1)), layer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss)
    return model


def _training(form: str) -> Builder:
    def build() -> Measure:
        model, (images, labels) = _model(form), _batch()
        return timed(lambda: model.train_on_batch(images, labels))

    return build


def _predicting(form: str) -> Builder:
    def build() -> Measure:
        model, (images, _) = _model(form), _batch()
        return timed(lambda: model.predict_on_batch(images))

    return build


_FORMS = (LINNET, FLAX)

CASES = [
    Case(
        "keras-train",
        "a training step of a CNN in a Keras model; flax: Keras's own FlaxLayer",
        {form: _training(form) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=1.05)],
    ),
    Case(
        "keras-predict",
        "predictions of that model for a batch; flax: Keras's own FlaxLayer",
        {form: _predicting(form) for form in _FORMS},
        [Comparison(LINNET, FLAX, at_most=1.05)],
    ),
    Case(
        "import-keras-bridge",
        "import linnet.keras_bridge, after import keras",
        {LINNET: importing("linnet.keras_bridge", after="keras"), LIMIT: lambda: lambda: 0.05},
        [Comparison(LINNET, LIMIT, at_most=1.0)],
    ),
]
