"""The names of `flax.traverse_util`, from `linnet.struct.traverse_util`."""

from linnet.struct.traverse_util import *  # noqa: F403
