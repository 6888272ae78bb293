"""Edits deep inside of immutable trees; see `linnet.module_core.cursor`."""

from linnet.module_core.cursor import *  # noqa: F403
