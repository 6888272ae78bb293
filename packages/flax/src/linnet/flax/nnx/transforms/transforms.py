"""The names of `flax.nnx.transforms.transforms`."""

from linnet.nnx.transforms.transforms import *  # noqa: F403
