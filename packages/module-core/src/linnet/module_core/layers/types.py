"""Types that the signatures of layers share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
from jax.lax import PrecisionLike as PrecisionLike
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike as DTypeLike

from ..typing import ConvGeneralDilatedT as ConvGeneralDilated
from ..typing import DotGeneralT as DotGeneral
from ..typing import EinsumT as EinsumOp
from ..typing import PaddingLike as PaddingLike
from ..typing import PromoteDtypeFn as PromoteDtype

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

Axes: TypeAlias = int | Sequence[int]
"""One dimension or several; negative ones count from the end."""

Sizes: TypeAlias = int | Sequence[int]
"""The size of one dimension, or of several."""

AxisName: TypeAlias = Hashable
"""The name of an axis that `jax.vmap`, `jax.pmap` or `jax.shard_map` maps over, or several."""

AxisIndexGroups: TypeAlias = Sequence[Sequence[int]]
"""Groups of indices along a named axis, e.g. [[0, 1], [2, 3]]."""

Activation: TypeAlias = Callable[..., Any]

OutSharding: TypeAlias = NamedSharding | PartitionSpec
"""How a result is laid out over the mesh."""

Metadata: TypeAlias = Mapping[str, Any]
"""Metadata of a parameter."""

NO_METADATA: Metadata = MappingProxyType({})

__all__ = [
    "NO_METADATA",
    "Activation",
    "Array",
    "Axes",
    "AxisIndexGroups",
    "AxisName",
    "ConvGeneralDilated",
    "DTypeLike",
    "DotGeneral",
    "EinsumOp",
    "Metadata",
    "OutSharding",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtype",
    "Shape",
    "Sizes",
]
