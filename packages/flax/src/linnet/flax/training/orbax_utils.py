"""The names of `flax.training.orbax_utils`."""

from jax.sharding import Mesh as Mesh

from linnet.module_core.training.orbax_utils import *  # noqa: F403
from linnet.module_core.typing import PyTree as PyTree
