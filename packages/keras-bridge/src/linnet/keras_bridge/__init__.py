"""Linen and nnx modules as Keras layers.

`FlaxLayer` wraps a linen module, `NNXLayer` an nnx module. Both can be used wherever a Keras layer
can, and are fitted, saved and loaded like one. Keras must run on jax: `KERAS_BACKEND=jax`.
"""

import os

try:
    import keras as _keras  # noqa: F401  (its backend decides whether this works)
except ModuleNotFoundError as error:
    # Without the variable and without ~/.keras/keras.json, Keras requires TensorFlow.
    if error.name not in ("tensorflow", "torch", "openvino"):
        raise
    backend = os.environ.get("KERAS_BACKEND")
    chosen = f"KERAS_BACKEND={backend}" if backend else "KERAS_BACKEND is not set"
    raise ModuleNotFoundError(
        f"Keras is configured to run on {error.name}, which is not installed ({chosen}); "
        "linnet.keras_bridge needs the jax backend of Keras.\n"
        "  Select it before importing Keras, in the shell (export KERAS_BACKEND=jax) or in the "
        "program: os.environ['KERAS_BACKEND'] = 'jax'.",
        name=error.name,
    ) from error

from .__about__ import __version__
from .flax_layer import FlaxLayer
from .nnx_layer import NNXLayer

__all__ = ["FlaxLayer", "NNXLayer", "__version__"]
