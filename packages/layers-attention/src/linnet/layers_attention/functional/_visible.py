"""The keys that a query sees: mask, causality, sliding windows and segments, in one description.

Queries and keys have positions. Query i is at `offset` + i; key j is at j, or at entry j of
`key_positions`. A query at p sees the key at r if

    p - r < left    and    r - p < right

so causality is `right` = 1, and a window bounds one side or both. Exact attention asks for all
booleans at once; chunked attention asks block by block, and skips blocks that no query sees.

B batch (any number of dimensions), Q queries, K keys, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.layers import Array


class Visible(NamedTuple):
    """The keys that a query sees; an attribute that is None restricts nothing.

    Attributes:
      mask: broadcasts to [*B, H, Q, K]; zero where attention is forbidden.
      left: a key is visible if it is fewer positions than this before the query.
      right: a key is visible if it is fewer positions than this after the query.
      offset: the position of the first query: a number, a scalar array, or an array that broadcasts
        to [*B, 1].
      key_positions: broadcasts to [*B, K].
      segments: broadcasts to [*B, Q]; a query sees the keys of its own segment.
      key_segments: broadcasts to [*B, K].
    """

    mask: Array | None = None
    left: int | None = None
    right: int | None = None
    offset: int | Array = 0
    key_positions: Array | None = None
    segments: Array | None = None
    key_segments: Array | None = None

    @property
    def is_local(self) -> bool:
        """Whether causality or a window makes visibility depend on positions."""
        return self.left is not None or self.right is not None

    @property
    def known_offset(self) -> int | None:
        """The position of the first query, if all positions are known before the program runs."""
        return self.offset if isinstance(self.offset, int) and self.key_positions is None else None

    @property
    def in_a_row(self) -> bool:
        """Whether all batch entries have the same positions, each one more than the last."""
        return np.ndim(self.offset) == 0 and self.key_positions is None

    def query_positions(self, queries: int) -> Array:
        """The positions of the queries: [Q], or [*B, Q] if they depend on the batch entry."""
        return lax.iota(jnp.int32, queries) + self.offset

    def positions(self, queries: int, keys: int) -> tuple[Array, Array]:
        """The positions of queries, [*B, Q], and of keys, [*B, K], or without the *B."""
        of_keys = lax.iota(jnp.int32, keys) if self.key_positions is None else self.key_positions
        return self.query_positions(queries), of_keys

    def array(self, queries: int, keys: int) -> Array | None:
        """Booleans that broadcast to [*B, H, Q, K], or None if everything is visible."""
        seen = None if self.mask is None else as_bool(self.mask)
        if self.is_local:
            rows, columns = self.positions(queries, keys)
            local = within(self.left, self.right, _column(rows), _row(columns))  # [*B, Q, K]
            assert local is not None
            seen = both(seen, local if local.ndim == 2 else jnp.expand_dims(local, -3))
        if self.segments is not None and self.key_segments is not None:
            same = jnp.equal(_column(self.segments), _row(self.key_segments))  # [*B, Q, K]
            seen = both(seen, same if same.ndim == 2 else jnp.expand_dims(same, -3))
        return seen


def within(left: int | None, right: int | None, queries: Array, keys: Array) -> Array | None:
    """Whether positions are within the bounds; the two arrays broadcast together."""
    seen = None
    if right == 1:
        seen = jnp.less_equal(keys, queries)
    elif right is not None:
        seen = keys - queries < right
    if left is not None:
        seen = both(seen, queries - keys < left)
    return seen


def both(a: Array | None, b: Array) -> Array:
    """The entries where both masks are true; None for `a` is true everywhere."""
    return b if a is None else jnp.logical_and(a, b)


def _column(x: Array) -> Array:
    """`x` [..., N] as [..., N, 1]."""
    return lax.expand_dims(x, (x.ndim,))


def _row(x: Array) -> Array:
    """`x` [..., N] as [..., 1, N]."""
    return lax.expand_dims(x, (x.ndim - 1,))


def as_bool(mask: Array) -> Array:
    """Whether each entry of a mask isn't zero."""
    return mask if mask.dtype == bool else lax.ne(mask, lax.full_like(mask, 0))
