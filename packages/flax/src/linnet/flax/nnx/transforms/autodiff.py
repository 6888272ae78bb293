"""The names of `flax.nnx.transforms.autodiff`."""

from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Missing as Missing
from linnet.module_core.typing import AxisName as AxisName
from linnet.nnx.transforms.autodiff import *  # noqa: F403
