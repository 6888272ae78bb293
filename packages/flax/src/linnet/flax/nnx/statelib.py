"""The names of `flax.nnx.statelib`."""

from linnet.module_core.typing import Key as Key
from linnet.module_core.typing import PathParts as PathParts
from linnet.nnx.statelib import *  # noqa: F403
