"""The names of `flax.training.dynamic_scale`."""

from jax import Array as Array

from linnet.module_core.training.dynamic_scale import *  # noqa: F403
