"""Gradients in half precision; see `linnet.module_core.training`."""

from linnet.module_core.training.dynamic_scale import *  # noqa: F403
