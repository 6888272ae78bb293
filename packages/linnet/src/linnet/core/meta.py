"""Metadata of variables, such as the names of their axes; see `linnet.linen.meta`."""

from linnet.linen.meta import *  # noqa: F403
