"""The names of `flax.nnx.transforms.compilation`."""

from linnet.nnx.transforms.compilation import *  # noqa: F403
