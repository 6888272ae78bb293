"""The names of `flax.nnx.transforms.transforms`."""

from typing import Any

from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Leaf as Leaf
from linnet.flax.typing import Missing as Missing
from linnet.module_core.typing import AxisName as AxisName
from linnet.nnx.transforms.transforms import *  # noqa: F403

Index = int
Leaves = list[Any]
