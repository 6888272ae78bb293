"""The names of `flax.configurations`."""

from linnet.module_core.config import *  # noqa: F403
