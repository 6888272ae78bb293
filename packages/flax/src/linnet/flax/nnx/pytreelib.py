"""The names of `flax.nnx.pytreelib`, and the classes that Flax's pickles of nnx objects contain."""

from __future__ import annotations

import jax

from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Missing as Missing
from linnet.module_core.config import config as config
from linnet.nnx.pytreelib import *  # noqa: F403


class PytreeMeta(type):
    """The metaclass of nnx objects in Flax. Linnet needs none; classes that use it still work."""


ObjectMeta = PytreeMeta


class PytreeState:
    """A state that Flax pickles with each nnx object. Linnet ignores it."""

    def __setstate__(self, state: object) -> None:
        """Keeps nothing."""


# In a pickled pytree structure of Flax, `PytreeState` is a node without children.
jax.tree_util.register_pytree_node(
    PytreeState, lambda _: ((), (False, False)), lambda *_: PytreeState()
)
