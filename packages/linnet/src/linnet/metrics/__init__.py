"""Logs of training runs: `linnet.metrics.tensorboard`."""

from . import tensorboard as tensorboard
