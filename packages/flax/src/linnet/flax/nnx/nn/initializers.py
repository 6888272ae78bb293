"""The names of `flax.nnx.nn.initializers`."""

from jax.typing import DTypeLike as DTypeLike

from linnet.nnx.nn.initializers import *  # noqa: F403

DtypeLikeInexact = DTypeLike
