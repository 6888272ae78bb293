"""Caches keys and values of all positions so far, for decoding one or more tokens at a time.

The cache is allocated for `length` positions, so that every step has the same shapes. Each row of a
batch may be at a position of its own (`filled` has an entry per row). A ring keeps only the last L
positions, which are enough for a sliding window: position p is in slot p modulo L.

B batch (any number of dimensions), L capacity, N new positions, H heads, D depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import ArgumentError, DtypeError, ShapeError, counted
from linnet.module_core.layers import Array, DTypeLike, Shape, as_array
from linnet.module_core.layout import automatic, entries_of, layout_of, leading

# The position of a slot without a token. It is after every query, and its distances don't overflow.
_NEVER = 2**30


class Cache(NamedTuple):
    """Keys and values, and the number of filled positions.

    Attributes:
      key: [*B, L, H, D].
      value: [*B, L, H, E].
      filled: int32, the number of positions so far: a scalar, or [*B] if each row has its own.
    """

    key: Array
    value: Array
    filled: Array


@dataclass(frozen=True)
class CacheOptions:
    """The options of a layer's cache: `cache_options=CacheOptions(per_row=True)`.

    Attributes:
      dtype: dtype of keys and values in the cache; None for that of the layer's keys and values.
      per_row: each row of the batch has its own number of positions, so that prompts of different
        lengths can be decoded together.
      ring: keeps only as many positions as the layer's `window` needs, which must be bounded to the
        left.
      axes: names for the dimensions of keys and values, [*B, L, H, D], which are split over a mesh
        by these names, such as ("data", None, "model", None); None for no names.

    >>> CacheOptions(per_row=True).ring
    False
    """

    dtype: DTypeLike | None = None
    per_row: bool = False
    ring: bool = False
    axes: tuple[str | None, ...] | None = None

    def capacity(self, length: int, left: int | None) -> int:
        """The number of positions to allocate for texts of this length and a window's left side.

        Raises:
          ArgumentError: a ring is requested, but the window is not bounded to the left.
        """
        if not self.ring:
            return length
        if left is None:
            raise ArgumentError(
                "A cache that is a ring needs a window that is bounded to the left, got window=None"
                " on that side.",
                hint="Pass the layer a window, or CacheOptions(ring=False), which is the default.",
            )
        return min(length, left)


PLAIN_CACHE = CacheOptions()


class Extended(NamedTuple):
    """A cache after new positions, and the arguments for attention from these to all positions.

    Attributes:
      cache: the cache with the new positions.
      key: keys to attend to, [*B, K, H, D].
      value: values, [*B, K, H, E].
      query_offset: the position of the first new token, a scalar or [*B].
      key_positions: [*B, K], or None if they are 0, 1, ….
      overflowed: whether more positions were appended than fit, a scalar or [*B]; None if that was
        already checked, or can't happen.
    """

    cache: Cache
    key: Array
    value: Array
    query_offset: Array
    key_positions: Array | None
    overflowed: Array | None


def init_cache(
    key_shape: Shape,
    value_shape: Shape,
    key_dtype: DTypeLike = jnp.float32,
    value_dtype: DTypeLike = jnp.float32,
    *,
    per_row: bool = False,
) -> Cache:
    """An empty cache.

    Args:
      key_shape: (*B, L, H, D).
      value_shape: (*B, L, H, E).
      key_dtype: dtype of the keys.
      value_dtype: dtype of the values.
      per_row: `filled` has an entry for each row.

    >>> init_cache((2, 16, 4, 8), (2, 16, 4, 8)).filled
    Array(0, dtype=int32)
    >>> init_cache((2, 16, 4, 8), (2, 16, 4, 8), per_row=True).filled
    Array([0, 0], dtype=int32)
    """
    rows = tuple(key_shape[:-3]) if per_row else ()
    return Cache(
        jnp.zeros(key_shape, key_dtype),
        jnp.zeros(value_shape, value_dtype),
        jnp.zeros(rows, jnp.int32),
    )


def append_to_cache(
    cache: Cache, key: Array, value: Array, *, lengths: Array | None = None, ring: bool = False
) -> Cache:
    """Appends new positions to the cache.

    Appending past the end is an error if `filled` is known; in a traced program (under `jax.jit`),
    the last positions are overwritten (with `filled` per row, the new ones are left out), and
    `overflowed` is true for the result. A ring has no end.

    Args:
      cache: the cache so far; it is not changed.
      key: [*B, N, H, D].
      value: [*B, N, H, E].
      lengths: broadcasts to [*B]; how many of the N new positions of each row are tokens, the
        others being padding after them. None for all. It needs `filled` per row.
      ring: position p is stored in slot p modulo L, in place of position p - L.

    Raises:
      ShapeError: the new positions or lengths don't fit the cache.
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
    more = key.shape[-3]
    lengths = None if lengths is None else _lengths(lengths, cache, more)
    if not ring:
        _check_room(cache, more if lengths is None else lengths)
    write = _at_the_end if not cache.filled.ndim and not ring else _row_by_row
    added = jnp.asarray(more if lengths is None else lengths, cache.filled.dtype)
    return Cache(
        write(cache.key, key, cache.filled, lengths, ring),
        write(cache.value, value, cache.filled, lengths, ring),
        lax.add(cache.filled, jnp.broadcast_to(added, cache.filled.shape)),
    )


def extend_cache(
    cache: Cache, key: Array, value: Array, *, lengths: Array | None = None, ring: bool = False
) -> Extended:
    """Appends new positions, and returns the keys and values that they attend to.

    The arguments and errors are those of `append_to_cache`. Causal attention with the result's
    `query_offset` and `key_positions` lets each new token see itself and all before it. With a
    ring, the keys are those stored so far, followed by the new ones, since the new ones may
    overwrite positions that the first of them still sees.

    >>> import jax.numpy as jnp
    >>> cache = init_cache((2, 4, 1, 2), (2, 4, 1, 2), per_row=True)
    >>> new = jnp.ones((2, 3, 1, 2))
    >>> after = extend_cache(cache, new, new, lengths=jnp.array([3, 1]))
    >>> after.cache.filled, after.key[..., 0, 0]
    (Array([3, 1], dtype=int32), Array([[1., 1., 1., 0.],
           [1., 0., 0., 0.]], dtype=float32))
    """
    after = append_to_cache(cache, key, value, lengths=lengths, ring=ring)
    if not ring:
        past = overflowed(after)
        return Extended(after, after.key, after.value, cache.filled, None, past)
    room, more = cache.key.shape[-3], key.shape[-3]
    filled = lax.expand_dims(cache.filled, (cache.filled.ndim,))  # [*B, 1]
    last = filled - 1
    stored = last - jnp.mod(last - lax.iota(jnp.int32, room), room)  # [*B, L]
    index = lax.iota(jnp.int32, more)
    new = filled + index  # [*B, N]
    if lengths is not None:
        new = jnp.where(index < _lengths(lengths, cache, more)[..., None], new, _NEVER)
    positions = jnp.concatenate([jnp.where(stored < 0, _NEVER, stored), new], -1)
    return Extended(
        after,
        jnp.concatenate([cache.key, key.astype(cache.key.dtype)], -3),
        jnp.concatenate([cache.value, value.astype(cache.value.dtype)], -3),
        cache.filled,
        positions,
        None,
    )


def overflowed(cache: Cache) -> Array | None:
    """Whether more positions were appended than fit; None if that was already checked.

    A scalar, or [*B] if each row has its own number of positions.

    >>> overflowed(init_cache((4, 1, 2), (4, 1, 2))) is None
    True
    """
    if not isinstance(cache.filled, jax.core.Tracer):
        return None
    return cache.filled > cache.key.shape[-3]


def _check_room(cache: Cache, more: int | Array) -> None:
    room = cache.key.shape[-3]
    if isinstance(cache.filled, jax.core.Tracer) or isinstance(more, jax.core.Tracer):
        least = more if isinstance(more, int) else 0
        if least > room:
            raise _no_room(least, room, "some")
        return
    filled, added = np.broadcast_arrays(np.asarray(cache.filled), np.asarray(more))
    past = filled + added > room
    if past.any():
        raise _no_room(int(added[past][0]), room, str(int(filled[past][0])))


def _lengths(lengths: object, cache: Cache, most: int) -> Array:
    """The number of new tokens in each row: [*B]."""
    array = as_array(lengths, "lengths")
    rows = cache.filled.shape
    if not rows:
        raise ArgumentError(
            "lengths were given, but all rows of the cache have the same number of positions.",
            hint="Make the cache with per_row=True.",
        )
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise DtypeError(f"lengths must be integers, got dtype {array.dtype}.")
    if array.shape not in (rows, ()):
        raise ShapeError(
            f"lengths must have the shape of the batch, {rows}, got {array.shape}.",
            hint="Each row has one number of new tokens.",
        )
    array = jnp.broadcast_to(array, rows)
    if not isinstance(array, jax.core.Tracer):
        numbers = np.asarray(array)
        if np.any(numbers < 0) or np.any(numbers > most):
            raise ArgumentError(
                f"lengths must be from 0 to {most}, the number of new positions, got "
                f"{numbers.tolist()}.",
                hint="The tokens of a row come first, followed by padding.",
            )
    return array


def _at_the_end(old: Array, new: Array, start: Array, _: Array | None, __: bool) -> Array:
    layout = layout_of(new)
    old = leading(old, entries_of(layout, new.ndim), layout)
    return lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), start, old.ndim - 3)


def _row_by_row(old: Array, new: Array, start: Array, lengths: Array | None, ring: bool) -> Array:
    """Writes each row at its own position; positions past the end are left out."""
    batch, room, more = old.ndim - 3, old.shape[-3], new.shape[-3]

    def of_row(old: Array, new: Array, start: Array, length: Array) -> Array:
        index = lax.iota(jnp.int32, more)
        slots, wanted = start + index, index < length
        if ring:
            slots, wanted = jnp.mod(slots, room), wanted & (index >= length - room)
        slots = jnp.where(wanted, slots, room)  # out of range, which is dropped
        return old.at[slots].set(new, mode="drop")

    def of_all(old: Array, new: Array, start: Array, lengths: Array) -> Array:
        write = of_row
        for _ in range(batch):
            write = jax.vmap(write)
        return write(old, new.astype(old.dtype), start, lengths)

    rows = old.shape[:-3]
    starts = jnp.broadcast_to(start, rows)
    counts = jnp.broadcast_to(jnp.int32(more) if lengths is None else lengths, rows)
    layout = layout_of(new)
    if layout is None:
        return of_all(old, new, starts, counts)
    write: Callable[..., Array] = automatic(of_all, layout)
    return write(leading(old, entries_of(layout, new.ndim), layout), new, starts, counts)


def _no_room(more: int, room: int, filled: str) -> ArgumentError:
    return ArgumentError(
        f"The cache is full: it has room for {counted(room, 'position')}, {filled} "
        f"{'is' if filled == '1' else 'are'} filled, {more} more"
        f" {'was' if more == 1 else 'were'} to be written.",
        hint="Initialize it with a longer input, or start over with an empty one.",
    )
