"""The names of `flax.nnx.variablelib`."""

from linnet.nnx.variablelib import *  # noqa: F403
