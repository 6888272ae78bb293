"""Small helpers for training loops; see `linnet.module_core.training`."""

from linnet.module_core.training.common_utils import *  # noqa: F403
