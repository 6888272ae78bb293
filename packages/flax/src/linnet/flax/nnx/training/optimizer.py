"""The names of `flax.nnx.training.optimizer`."""

from linnet.flax.typing import MISSING as MISSING
from linnet.nnx.training.optimizer import *  # noqa: F403
