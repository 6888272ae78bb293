"""The types that the functions of this package share."""

from __future__ import annotations

from typing import TypeAlias

import jax
from jax.lax import PrecisionLike
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from linnet.module_core.typing import ConvGeneralDilatedT as ConvGeneralDilated
from linnet.module_core.typing import DotGeneralT as DotGeneral
from linnet.module_core.typing import EinsumT as EinsumOp
from linnet.module_core.typing import PaddingLike
from linnet.module_core.typing import PromoteDtypeFn as PromoteDtype

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

OutSharding: TypeAlias = NamedSharding | PartitionSpec
"""How a result is laid out over the mesh."""

__all__ = [
    "Array",
    "ConvGeneralDilated",
    "DTypeLike",
    "DotGeneral",
    "EinsumOp",
    "OutSharding",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtype",
    "Shape",
]
