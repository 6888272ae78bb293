"""A Keras model around a bidirectional LSTM from Linnet: fitted, saved and loaded.

Everything around the layer is Keras's own: embedding, optimizer, metrics, the file. The model sorts
the digits of a short sequence, position by position.

B: batch, T: tokens, V: digits.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")  # before keras is imported

import keras
import numpy as np

from linnet.keras_bridge import FlaxLayer
from linnet.layers_recurrent import linen

T, V = 6, 10


def sequences(seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits [B, T], and the same digits in order."""
    x = np.random.default_rng(seed).integers(0, V, (number, T))
    return x, np.sort(x, axis=1)


def sorter() -> keras.Model:
    """The digits' embedding, both directions of an LSTM, and a score for each digit."""
    both = linen.Bidirectional(linen.RNN(linen.LSTMCell(48)), linen.RNN(linen.LSTMCell(48)))
    return keras.Sequential(
        [
            keras.Input((T,), dtype="int32"),
            keras.layers.Embedding(V, 16),  # [B, T, 16]
            FlaxLayer(both, seed=0),  # [B, T, 96]
            keras.layers.Dense(V),  # [B, T, V]
        ]
    )


def main() -> None:
    """Fits, saves and loads the model, and prints the share of digits in the right place."""
    keras.utils.set_random_seed(0)
    model = sorter()
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*sequences(0, 4096), batch_size=128, epochs=5, verbose=0)
    x, y = sequences(1, 512)
    _, accuracy = model.evaluate(x, y, verbose=0)
    print(f"digits in their place: {accuracy:.1%}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sorter.keras"
        model.save(file)
        loaded = keras.models.load_model(file)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    print(f"loaded from {file.name}: the same scores")
    if not accuracy > 0.9:
        raise SystemExit("the order was not learned")


if __name__ == "__main__":
    main()
