"""The names of `flax.nnx.compat`."""

from linnet.nnx.compat import *  # noqa: F403
