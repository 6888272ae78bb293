"""Stopping when a metric no longer falls; see `linnet.module_core.training`."""

from linnet.module_core.training.early_stopping import *  # noqa: F403
