"""The names of `flax.nnx.transforms.iteration`."""

from typing import Any

from linnet.flax.typing import Leaf as Leaf
from linnet.flax.typing import Missing as Missing
from linnet.flax.typing import PytreeDeque as PytreeDeque
from linnet.module_core.typing import AxisName as AxisName
from linnet.nnx.transforms.iteration import *  # noqa: F403
from linnet.struct import FrozenDict as FrozenDict

Index = int
Leaves = list[Any]
