"""The names of `flax.linen.module`."""

from linnet.linen.module import *  # noqa: F403
from linnet.module_core.linen.context import context as _context  # noqa: F401  (qwix)
