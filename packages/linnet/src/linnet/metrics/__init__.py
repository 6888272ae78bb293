"""What a training run reports: `linnet.metrics.tensorboard`."""

from . import tensorboard as tensorboard
