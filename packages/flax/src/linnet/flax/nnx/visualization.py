"""The names of `flax.nnx.visualization`."""

from linnet.nnx.visualization import *  # noqa: F403
