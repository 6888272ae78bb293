"""The names of `flax.training.dynamic_scale`."""

from linnet.module_core.training.dynamic_scale import *  # noqa: F403
