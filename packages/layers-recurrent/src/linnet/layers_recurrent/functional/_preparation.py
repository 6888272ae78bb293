"""Prepares the maps for a sequence: converts them to one dtype and saves additions."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.layers import Array, DTypeLike

from .affine import Affine


def in_one_dtype(
    inputs: Sequence[Affine], recurrent: Sequence[Affine], h: Array, xs: Array
) -> tuple[list[Affine], list[Affine]]:
    """All maps in the dtype in which a step would compute its gates."""
    arrays = [a for m in (*inputs, *recurrent) for a in (m.kernel, m.bias)]
    dtype = canonicalize_dtype(xs, h, *arrays, dtype=inputs[0].dtype)
    return [_cast(m, dtype) for m in inputs], [_cast(m, dtype) for m in recurrent]


def _cast(affine: Affine, dtype: DTypeLike) -> Affine:
    bias = None if affine.bias is None else jnp.asarray(affine.bias, dtype)
    return Affine(jnp.asarray(affine.kernel, dtype), bias, dtype)


def without_recurrent_bias(
    inputs: Sequence[Affine], recurrent: Sequence[Affine]
) -> tuple[list[Affine], list[Affine]]:
    """Moves the biases to the input maps, which are computed once per chunk; sums are unchanged."""
    merged = []
    for of_input, of_state in zip(inputs, recurrent, strict=True):
        bias = of_state.bias
        if bias is not None and of_input.bias is not None:
            bias = bias + of_input.bias
        merged.append(
            Affine(of_input.kernel, of_input.bias if bias is None else bias, of_input.dtype)
        )
    return merged, [Affine(m.kernel, None, m.dtype) for m in recurrent]
