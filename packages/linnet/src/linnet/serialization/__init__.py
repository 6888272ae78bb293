"""Trees as state dicts and bytes; see `linnet.struct.serialization`."""

from linnet.struct.serialization import *  # noqa: F403
