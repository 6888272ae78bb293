"""The names of `flax.linen.fp8_ops`."""

from jax import custom_jvp as custom_jvp
from jax import custom_vjp as custom_vjp

from linnet.linen.fp8_ops import *  # noqa: F403
