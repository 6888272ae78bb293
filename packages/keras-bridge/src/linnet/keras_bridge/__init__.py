"""Linen and nnx modules as layers of Keras.

`FlaxLayer` wraps a linen module, `NNXLayer` an nnx module. Both go wherever a Keras layer goes, and
are fitted, saved and loaded like one. Keras runs on jax: `KERAS_BACKEND=jax`.
"""

from .__about__ import __version__
from .flax_layer import FlaxLayer
from .nnx_layer import NNXLayer

__all__ = ["FlaxLayer", "NNXLayer", "__version__"]
