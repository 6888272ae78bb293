"""The types that the functions of this package share."""

from __future__ import annotations

from typing import Literal, TypeAlias

import jax
from jax.lax import PrecisionLike
from jax.typing import DTypeLike

from linnet.module_core.typing import DotGeneralT as DotGeneral
from linnet.module_core.typing import EinsumT as Einsum

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

Implementation: TypeAlias = Literal["exact", "chunked", "cudnn", "auto"]

__all__ = [
    "Array",
    "DTypeLike",
    "DotGeneral",
    "Einsum",
    "Implementation",
    "PrecisionLike",
    "Shape",
]
