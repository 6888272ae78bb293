"""The names of `flax.nnx.summary`."""

from linnet.nnx.summary import *  # noqa: F403
