"""The names of `flax.nnx.variablelib`."""

from collections.abc import Callable
from typing import Any

from linnet.flax.nnx.graphlib import is_array_ref as is_array_ref
from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Leaf as Leaf
from linnet.flax.typing import Missing as Missing
from linnet.module_core.config import config as config
from linnet.module_core.typing import AxisName as AxisName
from linnet.nnx.variablelib import *  # noqa: F403

AxisIndex = int
CreateValueHook = GetValueHook = SetValueHook = Callable[[Any, Any], Any]
AddAxisHook = RemoveAxisHook = Callable[[Any, int, str | None], None]
PyTreeDef = Any


class VariableMeta(type):
    """Flax's metaclass of variables. Linnet has none: a class with it works like any other."""
