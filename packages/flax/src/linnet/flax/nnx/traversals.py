"""The names of `flax.nnx.traversals`."""

from linnet.nnx.traversals import *  # noqa: F403
