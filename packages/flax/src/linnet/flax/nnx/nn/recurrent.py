"""The names of `flax.nnx.nn.recurrent`."""

from linnet.nnx.nn.recurrent import *  # noqa: F403
