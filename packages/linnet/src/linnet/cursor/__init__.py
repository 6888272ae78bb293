"""Edits deep inside immutable trees; see `linnet.module_core.cursor`."""

from linnet.module_core.cursor import *  # noqa: F403
