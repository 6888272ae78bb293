"""Fetching data in advance; see `linnet.module_core.training`."""

from linnet.module_core.training.prefetch_iterator import *  # noqa: F403
