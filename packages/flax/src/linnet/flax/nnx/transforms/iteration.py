"""The names of `flax.nnx.transforms.iteration`."""

from linnet.nnx.transforms.iteration import *  # noqa: F403
