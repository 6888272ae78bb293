"""Types for annotations; see `linnet.module_core.typing`."""

from linnet.module_core.typing import *  # noqa: F403
