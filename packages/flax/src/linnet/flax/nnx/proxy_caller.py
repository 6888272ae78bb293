"""The names of `flax.nnx.proxy_caller`."""

from linnet.nnx.proxy_caller import *  # noqa: F403
