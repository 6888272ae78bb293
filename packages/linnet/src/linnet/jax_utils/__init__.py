"""Data on devices, scans and partial evaluation; see `linnet.module_core.training`."""

from linnet.module_core.training.jax_utils import *  # noqa: F403
