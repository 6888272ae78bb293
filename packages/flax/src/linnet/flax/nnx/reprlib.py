"""The names of `flax.nnx.reprlib`."""

from linnet.nnx.reprlib import *  # noqa: F403
