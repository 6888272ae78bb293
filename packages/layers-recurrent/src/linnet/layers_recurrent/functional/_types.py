"""The types that the functions of this package share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
from jax.typing import DTypeLike

Array: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]

Map: TypeAlias = Callable[[Any], Array]
"""An affine map of the last dimension: an `Affine`, or a module that is one."""

M = TypeVar("M", bound=Map)

Activation: TypeAlias = Callable[..., Any]

__all__ = ["Activation", "Array", "DTypeLike", "M", "Map", "Shape"]
