"""Positions in a layer: rotary positions of queries and keys, and those that fit in a cache.

B batch (any number of dimensions), Q queries, K keys, H heads, D depth of a head.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array

from .rotary import Rotary, checked_positions


def rotated(
    rotary: Rotary | None,
    query: Array,
    key: Array,
    positions: Array | None,
    filled: Array | None,
    *,
    room: int | None,
    itself: bool,
) -> tuple[Array, Array]:
    """Queries and keys with rotary positions.

    Args:
      rotary: the options; None leaves both unchanged.
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      positions: broadcasts to [*B, Q]; None for those that follow the filled ones.
      filled: the number of positions in the cache so far, a scalar or [*B]; None without a cache.
      room: the capacity of the cache, in positions; None without a cache or if it has no end.
      itself: queries and keys come from the same inputs; otherwise keys are at 0, 1, ….

    Raises:
      ArgumentError: positions are given but nothing uses them, or they are outside the cache.
    """
    if rotary is None:
        if positions is not None:
            raise ArgumentError(
                "positions were given, but the layer has no rotary positions that would use them.",
                hint="Construct the layer with rotary=Rotary(), or leave positions out.",
            )
        return query, key
    if positions is not None:
        positions = checked_positions(positions, query.shape[:-2])
        if room is not None:
            _check_within(positions, room)
    elif filled is not None:
        steps = lax.iota(jnp.int32, query.shape[-3])
        positions = lax.expand_dims(filled, (filled.ndim,)) + steps  # [*B, Q]
    return rotary(query, positions), rotary(key, positions if itself else None)


def _check_within(positions: Array, room: int) -> None:
    if isinstance(positions, jax.core.Tracer):
        return
    numbers = np.asarray(positions)
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < room):
        raise ArgumentError(
            f"The cache has the positions 0 to {room - 1}, got positions from {numbers.min()} to "
            f"{numbers.max()}.",
            hint="Make a longer cache, or leave positions out: by default they follow those that "
            "are filled.",
        )


def only_while_decoding(lengths: object) -> None:
    """Checks that `lengths` is None in a call that doesn't decode.

    Raises:
      ArgumentError: it isn't.
    """
    if lengths is not None:
        raise ArgumentError(
            "lengths were given, but the layer isn't decoding.",
            hint="Decode, or hide padding from attention with a mask or segment_ids.",
        )


def nan_past_the_end(y: Array, overflowed: Array | None) -> Array:
    """The output [*B, Q, C], NaN in the rows for which the cache had no room."""
    if overflowed is None:
        return y
    return jnp.where(
        lax.expand_dims(overflowed, (overflowed.ndim, overflowed.ndim + 1)), jnp.nan, y
    )
