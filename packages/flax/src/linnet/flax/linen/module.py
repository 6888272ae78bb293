"""The names of `flax.linen.module`."""

from linnet.linen.module import *  # noqa: F403
from linnet.linen.module import _context as _context  # qwix asks it for the running modules
