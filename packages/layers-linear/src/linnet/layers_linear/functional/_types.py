"""The types that the functions of this package have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
from jax.lax import PrecisionLike
from jax.typing import DTypeLike

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

PaddingLike: TypeAlias = str | int | Sequence[int | Sequence[int]]
"""A name, one int for every side, or one int or (low, high) pair for each spatial dimension."""

PromoteDtype: TypeAlias = Callable[..., Sequence[Any]]
"""Casts arrays to one dtype, as `linnet.module_core.dtypes.promote_dtype` does."""

DotGeneral: TypeAlias = Callable[..., Array]
"""Called as `jax.lax.dot_general(lhs, rhs, dimension_numbers, precision=...)`."""

ConvGeneralDilated: TypeAlias = Callable[..., Array]
"""Called as `jax.lax.conv_general_dilated(lhs, rhs, window_strides, padding, lhs_dilation=...)`."""

__all__ = [
    "Array",
    "ConvGeneralDilated",
    "DTypeLike",
    "DotGeneral",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtype",
    "Shape",
]
