"""Types for annotations in modules.

The annotations of a module are evaluated when its class is created, so these are cheap values, not
types for a checker alone. They have the names that published programs import:

>>> from linnet.module_core.linen import Module, compact
>>> from linnet.module_core.typing import Array, Dtype
>>> class Cast(Module):
...     dtype: Dtype
...
...     @compact
...     def __call__(self, x: Array) -> Array:
...         return x.astype(self.dtype)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
from jax.lax import PrecisionLike
from jax.typing import DTypeLike

from linnet.struct import FrozenDict as FrozenDict

from .records import Record

# Arrays.

Array: TypeAlias = jax.Array
ArrayPytree: TypeAlias = Any
"""A pytree of arrays."""

PyTree: TypeAlias = Any
"""A tree defined by the user: containers of arrays, variables, modules or settings."""

Prefix: TypeAlias = Any
"""A tree whose leaves each apply to a whole subtree, like `in_axes` of `jax.vmap`."""

Shape: TypeAlias = Sequence[int]
Dtype: TypeAlias = DTypeLike

Axis: TypeAlias = int | None
Axes: TypeAlias = int | Sequence[int]

# Random keys.

PRNGKey: TypeAlias = jax.Array
RNGSequences: TypeAlias = dict[str, PRNGKey]
"""A key for each stream."""

PRNGFoldable: TypeAlias = int | str
"""Values that can be folded into a key."""

# Variables.

Path: TypeAlias = str
Collection: TypeAlias = Mapping[str, Any]
MutableCollection: TypeAlias = dict[str, Any]
VariableDict: TypeAlias = Mapping[str, Collection]
"""Collections by name, as returned by `init` and passed to `apply`."""

FrozenVariableDict: TypeAlias = FrozenDict[str, Collection]
MutableVariableDict: TypeAlias = dict[str, MutableCollection]

Key: TypeAlias = Any
"""An entry of a path: the name of an attribute, or an index."""

PathParts: TypeAlias = tuple[Key, ...]

Initializer: TypeAlias = Callable[..., Any]
"""Called as `init(key, shape, dtype)`."""

# Products and convolutions.

PaddingLike: TypeAlias = str | int | Sequence[int | Sequence[int]]
"""A name, one int for every side, or one int or (low, high) pair for each spatial dimension."""

LaxPadding: TypeAlias = str | Sequence[tuple[int, int]]
"""Padding for `jax.lax`: a name, or a (low, high) pair for each spatial dimension."""

DotGeneralT: TypeAlias = Callable[..., Array]
"""Called as `jax.lax.dot_general(lhs, rhs, dimension_numbers, precision=...)`."""

ConvGeneralDilatedT: TypeAlias = Callable[..., Array]
"""Called as `jax.lax.conv_general_dilated(lhs, rhs, window_strides, padding, lhs_dilation=...)`."""

EinsumT: TypeAlias = Callable[..., Array]
"""Called as `jax.numpy.einsum(equation, a, b)`."""


PromoteDtypeFn: TypeAlias = Callable[..., Sequence[Any]]
"""Casts arrays to one dtype, like `linnet.module_core.dtypes.promote_dtype`."""

# Recurrence.

Carry: TypeAlias = Any
"""The state that a cell passes to the next step."""

CarryHistory: TypeAlias = Any
Output: TypeAlias = Any
"""The result of a function or module defined by the user."""

ScanAxis: TypeAlias = int

# Axes of collections in lifted transforms.


class In(Record):
    """A collection that is an input along `axis` and not an output."""

    axis: Any

    def __init__(self, axis: object) -> None:
        vars(self).update(axis=axis)


class Out(Record):
    """A collection that is an output along `axis` and not an input."""

    axis: Any

    def __init__(self, axis: object) -> None:
        vars(self).update(axis=axis)


InOutAxis: TypeAlias = int | In | Out | None
InOutScanAxis: TypeAlias = int | In | Out

# Partitioning.

AxisName: TypeAlias = str | tuple[str, ...] | None
"""A mesh axis, or several, that an axis is split over; None if it is not split."""

LogicalNames: TypeAlias = tuple[str | None, ...]
"""The name of each axis of a value; None for an axis without a name."""

LogicalRules: TypeAlias = Sequence[tuple[str, AxisName]]
"""Pairs of a logical name and the mesh axis, or axes, that it is split over."""

Sharding: TypeAlias = tuple[AxisName, ...]
LogicalPartitionSpec: TypeAlias = Any
LogicalPartitionSpecPytree: TypeAlias = Any
PartitionSpecPytree: TypeAlias = Any

__all__ = [
    "Array",
    "ArrayPytree",
    "Axes",
    "Axis",
    "AxisName",
    "Carry",
    "CarryHistory",
    "Collection",
    "ConvGeneralDilatedT",
    "DotGeneralT",
    "Dtype",
    "EinsumT",
    "FrozenDict",
    "FrozenVariableDict",
    "In",
    "InOutAxis",
    "InOutScanAxis",
    "Initializer",
    "Key",
    "LaxPadding",
    "LogicalNames",
    "LogicalPartitionSpec",
    "LogicalPartitionSpecPytree",
    "LogicalRules",
    "MutableCollection",
    "MutableVariableDict",
    "Out",
    "Output",
    "PRNGFoldable",
    "PRNGKey",
    "PaddingLike",
    "PartitionSpecPytree",
    "Path",
    "PathParts",
    "PrecisionLike",
    "PromoteDtypeFn",
    "RNGSequences",
    "ScanAxis",
    "Shape",
    "Sharding",
    "VariableDict",
]
