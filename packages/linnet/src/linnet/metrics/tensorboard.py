"""Summaries for TensorBoard; see `linnet.module_core.training.tensorboard`."""

from linnet.module_core.training.tensorboard import *  # noqa: F403
