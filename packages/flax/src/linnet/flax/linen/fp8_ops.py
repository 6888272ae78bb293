"""The names of `flax.linen.fp8_ops`."""

from linnet.linen.fp8_ops import *  # noqa: F403
