"""The names of `flax.nnx.bridge.variables`."""

from linnet.module_core.typing import LogicalNames as LogicalNames
from linnet.nnx.bridge.variables import *  # noqa: F403
