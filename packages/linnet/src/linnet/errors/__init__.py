"""Every error of Linnet; see `linnet.module_core.errors`."""

from linnet.module_core.errors import *  # noqa: F403
