"""What the cells' constructors have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from linnet.layers_linear.nnx import Linear
from linnet.layers_recurrent._defaults import (
    Activation,
    Array,
    DTypeLike,
    Initializer,
    default_bias_init,
    default_carry_init,
    default_forget_bias_init,
    default_kernel_init,
    default_recurrent_kernel_init,
    integer,
    sigmoid,
    tanh,
    usual,
)
from linnet.layers_recurrent.functional import Affine
from linnet.module_core.nnx import Rngs, RngStream
from linnet.module_core.nnx.layers import names_layer, promote_dtype, value_of

Metadata: TypeAlias = Mapping[str, Any]
"""What a parameter is to be told beside its value."""

PromoteDtype: TypeAlias = Callable[..., Any]
"""Casts a tuple of arrays to a common type: `promote_dtype((x, kernel, bias), dtype=dtype)`."""

NO_METADATA: Metadata = MappingProxyType({})


def affine(linear: Linear) -> Affine:
    """The map that a layer computes, as arrays."""
    return Affine(value_of(linear.kernel), value_of(linear.bias), linear.dtype)


def known(value: Array) -> Callable[[Array], Array]:
    """The map of a gate whose product was taken already, together with those of other gates."""
    return lambda _: value


__all__ = [
    "NO_METADATA",
    "Activation",
    "Array",
    "DTypeLike",
    "Initializer",
    "Linear",
    "Metadata",
    "PromoteDtype",
    "RngStream",
    "Rngs",
    "affine",
    "default_bias_init",
    "default_carry_init",
    "default_forget_bias_init",
    "default_kernel_init",
    "default_recurrent_kernel_init",
    "integer",
    "known",
    "names_layer",
    "promote_dtype",
    "sigmoid",
    "tanh",
    "usual",
]
