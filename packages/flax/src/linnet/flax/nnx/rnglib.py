"""The names of `flax.nnx.rnglib`."""

from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Missing as Missing
from linnet.module_core.typing import Key as Key
from linnet.nnx.rnglib import *  # noqa: F403
