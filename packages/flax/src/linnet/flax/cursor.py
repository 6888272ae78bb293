"""The names of `flax.cursor`."""

from linnet.module_core.cursor import *  # noqa: F403
from linnet.module_core.cursor import _traverse_tree as _traverse_tree
from linnet.module_core.errors import CursorFindError as CursorFindError
from linnet.module_core.errors import TraverseTreeError as TraverseTreeError
from linnet.struct import FrozenDict as FrozenDict
