"""The names of `flax.jax_utils`."""

from linnet.module_core.training.jax_utils import *  # noqa: F403
