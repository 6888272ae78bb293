"""The names of `flax.nnx.rnglib`."""

from linnet.nnx.rnglib import *  # noqa: F403
