"""Helpers shared by the cells."""

from __future__ import annotations

from collections.abc import Callable

from linnet.layers_linear.nnx import Linear
from linnet.layers_recurrent.functional import Affine
from linnet.module_core.layers import Array
from linnet.module_core.layers.nnx import value_of


def affine(linear: Linear) -> Affine:
    """The map that a layer computes, as arrays."""
    return Affine(value_of(linear.kernel), value_of(linear.bias), linear.dtype)


def known(value: Array) -> Callable[[Array], Array]:
    """The map of a gate whose product was already computed, together with those of other gates."""
    return lambda _: value
