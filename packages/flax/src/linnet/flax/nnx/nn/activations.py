"""The names of `flax.nnx.nn.activations`."""

from linnet.nnx.nn.activations import *  # noqa: F403
