"""Caches keys and values of all positions so far, for decoding one or more tokens at a time.

The cache is allocated for `length` positions, so that every step has the same shapes.

B batch (any number of dimensions), L capacity, N new positions, H heads, D depth.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import Array, DTypeLike, Shape
from linnet.module_core.layout import entries_of, layout_of, leading


class Cache(NamedTuple):
    """Keys and values, and the number of filled positions.

    Attributes:
      key: [*B, L, H, D].
      value: [*B, L, H, E].
      filled: int32 scalar, the number of filled positions.
    """

    key: Array
    value: Array
    filled: Array


def init_cache(
    key_shape: Shape,
    value_shape: Shape,
    key_dtype: DTypeLike = jnp.float32,
    value_dtype: DTypeLike = jnp.float32,
) -> Cache:
    """An empty cache.

    Args:
      key_shape: (*B, L, H, D).
      value_shape: (*B, L, H, E).
      key_dtype: dtype of the keys.
      value_dtype: dtype of the values.

    >>> init_cache((2, 16, 4, 8), (2, 16, 4, 8)).filled
    Array(0, dtype=int32)
    """
    return Cache(jnp.zeros(key_shape, key_dtype), jnp.zeros(value_shape, value_dtype), jnp.int32(0))


def append_to_cache(cache: Cache, key: Array, value: Array) -> Cache:
    """Appends new positions to the cache.

    Appending past the end is an error if `filled` is known; in a traced program (under `jax.jit`),
    the last positions are overwritten, and `overflowed` is true for the result.

    Args:
      cache: the cache so far; it is not changed.
      key: [*B, N, H, D].
      value: [*B, N, H, E].

    Raises:
      ShapeError: the new positions don't fit the cache.
      ArgumentError: they exceed the cache's capacity.

    >>> import jax.numpy as jnp
    >>> cache = init_cache((4, 1, 2), (4, 1, 2))
    >>> cache = append_to_cache(cache, jnp.ones((3, 1, 2)), jnp.ones((3, 1, 2)))
    >>> cache.filled, cache.key[:, 0, 0]
    (Array(3, dtype=int32), Array([1., 1., 1., 0.], dtype=float32))
    """
    for what, new, old in (("key", key, cache.key), ("value", value, cache.value)):
        expected = (*old.shape[:-3], key.shape[-3], *old.shape[-2:])
        if new.shape != expected:
            raise ShapeError(
                f"Autoregressive cache shape error: the cached {what} has shape {old.shape}, so "
                f"new ones must have shape {expected}, got {new.shape}.",
                hint=(
                    "The cache keeps the batch size, heads and depth of the input that it was "
                    "created for."
                ),
            )
    more, room = key.shape[-3], cache.key.shape[-3]
    if isinstance(cache.filled, jax.core.Tracer):
        if more > room:
            raise _no_room(more, room, "some")
    elif int(cache.filled) + more > room:
        raise _no_room(more, room, str(int(cache.filled)))
    return Cache(
        _written(cache.key, key, cache.filled),
        _written(cache.value, value, cache.filled),
        lax.add(cache.filled, jnp.asarray(more, cache.filled.dtype)),
    )


def overflowed(cache: Cache) -> Array | None:
    """Whether more positions were appended than fit; None if that was already checked.

    >>> overflowed(init_cache((4, 1, 2), (4, 1, 2))) is None
    True
    """
    if not isinstance(cache.filled, jax.core.Tracer):
        return None
    return cache.filled > cache.key.shape[-3]


def _written(old: Array, new: Array, start: Array) -> Array:
    layout = layout_of(new)
    old = leading(old, entries_of(layout, new.ndim), layout)
    return lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), start, old.ndim - 3)


def _no_room(more: int, room: int, filled: str) -> ArgumentError:
    return ArgumentError(
        f"The cache is full: it has room for {room} positions, {filled} are filled, {more} more "
        "were to be written.",
        hint="Initialize it with a longer input, or start over with an empty one.",
    )
