"""Nested dicts as flat ones; see `linnet.struct.traverse_util`."""

from linnet.struct.traverse_util import *  # noqa: F403
