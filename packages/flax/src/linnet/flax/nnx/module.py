"""The names of `flax.nnx.module`."""

from linnet.flax.linen.module import tuple_init as tuple_init
from linnet.flax.linen.module import tuple_reduce as tuple_reduce
from linnet.flax.nnx.pytreelib import PytreeMeta as PytreeMeta
from linnet.module_core.typing import Key as Key
from linnet.module_core.typing import Path as Path
from linnet.module_core.typing import PathParts as PathParts
from linnet.nnx.module import *  # noqa: F403


class ModuleMeta(PytreeMeta):
    """The metaclass of modules in Flax; see `PytreeMeta`."""
