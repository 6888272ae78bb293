"""The types that the functions of this package have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
from jax.lax import PrecisionLike
from jax.typing import DTypeLike

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

DotGeneral: TypeAlias = Callable[..., Array]
"""Called as `jax.lax.dot_general(lhs, rhs, dimension_numbers, precision, ...)`."""

Einsum: TypeAlias = Callable[..., Array]
"""Called as `jax.numpy.einsum(equation, a, b)`."""

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
