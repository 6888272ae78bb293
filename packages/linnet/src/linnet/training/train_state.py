"""The state of a training loop; see `linnet.module_core.training`."""

from linnet.module_core.training.train_state import *  # noqa: F403
