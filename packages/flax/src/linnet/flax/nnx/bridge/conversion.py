"""The names of `flax.nnx.bridge.conversion`."""

from linnet.nnx.bridge.conversion import *  # noqa: F403
