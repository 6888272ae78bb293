"""The names of `flax.nnx.transforms.autodiff`."""

from linnet.nnx.transforms.autodiff import *  # noqa: F403
