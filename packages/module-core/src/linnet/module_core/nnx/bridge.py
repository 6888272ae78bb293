"""The bridge between linen and nnx under its public name; see `linnet.module_core.bridge`."""

from ..bridge import *  # noqa: F403
