"""The names of `flax.nnx.traversals`."""

from collections.abc import Callable, Mapping
from typing import Any

from linnet.nnx.traversals import *  # noqa: F403

IsLeafCallable = Callable[[tuple[Any, ...], Mapping[Any, Any]], bool]
