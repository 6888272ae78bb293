"""The names of `flax.nnx.pytreelib`."""

from linnet.nnx.pytreelib import *  # noqa: F403
