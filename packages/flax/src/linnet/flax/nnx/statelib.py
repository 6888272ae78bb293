"""The names of `flax.nnx.statelib`."""

from linnet.nnx.statelib import *  # noqa: F403
