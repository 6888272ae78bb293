"""The names of `flax.nnx.filterlib`."""

from types import EllipsisType as ellipsis  # noqa: F401
from typing import Any as _Anything

from linnet.nnx.filterlib import *  # noqa: F403

FilterLiteral = _Anything
