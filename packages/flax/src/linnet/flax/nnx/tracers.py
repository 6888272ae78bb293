"""The names of `flax.nnx.tracers`."""

from linnet.nnx.tracers import *  # noqa: F403
