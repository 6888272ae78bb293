"""Masks, which define which keys a query may attend to.

A mask is an array of numbers, zero where attention is forbidden, that broadcasts to the logits:
[*B, H, Q, K]. B batch, H heads, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import Array, DTypeLike


def make_attention_mask(
    query_input: Array,
    key_input: Array,
    pairwise_fn: Callable[..., Any] = jnp.multiply,
    extra_batch_dims: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """A mask computed from a property of each query and each key.

    Args:
      query_input: [*B, Q].
      key_input: [*B, K].
      pairwise_fn: takes the properties of a query and a key and returns whether the query may
        attend to the key; by default, both properties mean "is not padding".
      extra_batch_dims: number of leading dimensions of size 1 to add.
      dtype: dtype of the mask.

    Returns:
      [*ones, *B, 1, Q, K]; the 1 is for the heads.

    Raises:
      ShapeError: the batch dimensions differ, or an input has no length dimension.

    >>> import jax.numpy as jnp
    >>> words = jnp.array([[5, 8, 0]])  # 0 is padding
    >>> make_attention_mask(words > 0, words > 0)[0, 0]
    Array([[1., 1., 0.],
           [1., 1., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    query_input, key_input = jnp.asarray(query_input), jnp.asarray(key_input)
    if not query_input.ndim or not key_input.ndim:
        raise ShapeError(
            "query_input and key_input must have at least one dimension (the length), got "
            f"shapes {query_input.shape} and {key_input.shape}."
        )
    try:
        jnp.broadcast_shapes(query_input.shape[:-1], key_input.shape[:-1])
    except ValueError:
        raise ShapeError(
            "The batch dimensions of query_input and key_input must match, got shapes "
            f"{query_input.shape} and {key_input.shape}.",
            hint="All dimensions but the last are batch dimensions.",
        ) from None
    mask = pairwise_fn(
        jnp.expand_dims(query_input, axis=-1),  # [*B, Q, 1]
        jnp.expand_dims(key_input, axis=-2),  # [*B, 1, K]
    )  # [*B, Q, K]
    mask = jnp.expand_dims(mask, axis=-3)  # [*B, 1, Q, K]
    mask = jnp.expand_dims(mask, axis=tuple(range(extra_batch_dims)))  # [*ones, *B, 1, Q, K]
    return mask.astype(dtype)


def make_causal_mask(x: Array, extra_batch_dims: int = 0, dtype: DTypeLike = jnp.float32) -> Array:
    """A mask under which each position sees itself and all earlier positions.

    `is_causal=True` has the same effect in `dot_product_attention` without an array of Q·K numbers,
    and lets it skip masked logits.

    Args:
      x: [*B, length]; only the shape matters.
      extra_batch_dims: number of leading dimensions of size 1 to add.
      dtype: dtype of the mask.

    Returns:
      [*ones, *B, 1, length, length].

    Raises:
      ShapeError: `x` has no length dimension.

    >>> import jax.numpy as jnp
    >>> make_causal_mask(jnp.ones(3))[0]
    Array([[1., 0., 0.],
           [1., 1., 0.],
           [1., 1., 1.]], dtype=float32)
    """
    shape = jnp.shape(x)
    if not shape:
        raise ShapeError(
            "make_causal_mask needs at least one dimension (the length), got a scalar."
        )
    positions = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32), shape)
    return make_attention_mask(
        positions,
        positions,
        jnp.greater_equal,
        extra_batch_dims=extra_batch_dims,
        dtype=dtype,
    )


def combine_masks(*masks: Array | None, dtype: DTypeLike = jnp.float32) -> Array | None:
    """The intersection of masks: it allows what all of them allow.

    Args:
      *masks: arrays of the same rank that broadcast together; None is skipped.
      dtype: dtype of the mask.

    Returns:
      The mask, or None if all arguments are None.

    Raises:
      ArgumentError: the ranks differ.
      ShapeError: the shapes don't broadcast.

    >>> import jax.numpy as jnp
    >>> combine_masks(jnp.array([1, 1, 0]), None, jnp.array([0, 1, 1]))
    Array([0., 1., 0.], dtype=float32)
    """
    present = [jnp.asarray(m) for m in masks if m is not None]
    if not present:
        return None
    shapes = [m.shape for m in present]
    if len({len(s) for s in shapes}) > 1:
        raise ArgumentError(
            f"masks must have the same rank, got the ranks {[len(s) for s in shapes]} of the "
            f"shapes {shapes}.",
            hint="Add dimensions of size 1: which dimensions correspond cannot be guessed.",
        )
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"masks must broadcast together, got shapes {shapes}.") from None
    combined = present[0]
    for mask in present[1:]:
        combined = jnp.logical_and(combined, mask)
    return combined.astype(dtype)
