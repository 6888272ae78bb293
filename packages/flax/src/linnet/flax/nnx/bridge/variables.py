"""The names of `flax.nnx.bridge.variables`."""

from linnet.nnx.bridge.variables import *  # noqa: F403
