"""The names of `flax.serialization`, from `linnet.struct.serialization`."""

from linnet.struct.serialization import *  # noqa: F403
