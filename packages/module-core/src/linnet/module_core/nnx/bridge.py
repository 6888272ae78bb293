"""The bridge between linen and nnx by the name that users know; see `linnet.module_core.bridge`."""

from ..bridge import *  # noqa: F403
