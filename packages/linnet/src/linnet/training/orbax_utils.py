"""Arguments of orbax for each array of a tree; see `linnet.module_core.training`."""

from linnet.module_core.training.orbax_utils import *  # noqa: F403
