"""The names of `flax.nnx.module`."""

from linnet.nnx.module import *  # noqa: F403
