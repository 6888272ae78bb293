"""Learning-rate schedules; see `linnet.module_core.training`."""

from linnet.module_core.training.lr_schedule import *  # noqa: F403
