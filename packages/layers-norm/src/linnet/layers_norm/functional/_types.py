"""The types that the functions of this package share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import jax
from jax.typing import DTypeLike

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

Axes: TypeAlias = int | Sequence[int]
"""One dimension or several; negative ones count from the end."""

AxisName: TypeAlias = Hashable
"""The name of an axis that `jax.vmap`, `jax.pmap` or `jax.shard_map` maps over, or several."""

AxisIndexGroups: TypeAlias = Sequence[Sequence[int]]
"""Indices along a named axis that belong together, e.g. [[0, 1], [2, 3]]."""

__all__ = ["Array", "Axes", "AxisIndexGroups", "AxisName", "DTypeLike", "Shape"]
