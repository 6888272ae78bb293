"""The names of `flax.typing`."""

from linnet.module_core.typing import *  # noqa: F403
