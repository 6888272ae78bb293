"""The names of `flax.nnx.nn.dtypes`."""

from linnet.nnx.nn.dtypes import *  # noqa: F403
