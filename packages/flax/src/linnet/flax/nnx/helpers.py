"""The names of `flax.nnx.helpers`."""

from linnet.nnx.helpers import *  # noqa: F403
