"""The names of `flax.nnx.bridge.interop`."""

from linnet.nnx.bridge.interop import *  # noqa: F403
