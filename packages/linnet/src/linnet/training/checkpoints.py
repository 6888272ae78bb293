"""Numbered files of a training run; see `linnet.module_core.training`."""

from linnet.module_core.training.checkpoints import *  # noqa: F403
