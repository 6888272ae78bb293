"""The names of `flax.nnx.bridge.module`."""

from linnet.nnx.bridge.module import *  # noqa: F403
