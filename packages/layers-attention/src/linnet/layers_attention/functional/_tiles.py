"""The logits of one block, which the forward and backward passes of chunked attention share.

Query heads that share a key head act as additional queries of it: a *row* is a query of one of the
G heads of a group. The G·q rows of a block of q queries are consecutive, so that each product over
a block is a plain matrix product per key head.

B batch (any number of dimensions), R rows, K keys, both of whole blocks of r = G·q and k, H key
heads, G query heads that share one, D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.layers import Array, PrecisionLike

from ._blocks import Blocks
from .masks import as_bool

T = TypeVar("T")


class Static(NamedTuple):
    """The properties of a call that are known before the program runs.

    Attributes:
      blocks: the blocks of the logits.
      groups: G.
      precision: precision of the matrix products.
      keep: the probability that a weight is kept.
      broadcast_dropout: whether all batch entries and heads drop the same weights.
    """

    blocks: Blocks
    groups: int
    precision: PrecisionLike
    keep: float
    broadcast_dropout: bool

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.groups * self.blocks.query_block


class Arrays(NamedTuple):
    """The arrays of a call, with heads before positions, padded to whole blocks.

    Attributes:
      query: [*B, H, R, D], scaled.
      key: [*B, H, K, D].
      value: [*B, H, K, E].
      bias: broadcasts to [*B, H, G, Q, K] and has its rank; or None.
      mask: like `bias`.
      offset: position of the first query among the keys.
      dropout_key: the key for dropout, or None.
    """

    query: Array
    key: Array
    value: Array
    bias: Array | None
    mask: Array | None
    offset: Array
    dropout_key: Array | None


class Tile(NamedTuple):
    """One block of queries and one block of keys.

    Attributes:
      pair: [2], their indices.
      row: the first row.
      query_start: the first query.
      key_start: the first key.
      query: [*B, H, r, D].
      key: [*B, H, k, D].
      value: [*B, H, k, E].
    """

    pair: Array
    row: Array
    query_start: Array
    key_start: Array
    query: Array
    key: Array
    value: Array


def tile_of(static: Static, arrays: Arrays, pair: Array) -> Tile:
    """The blocks of a pair."""
    blocks = static.blocks
    row, key_start = pair[0] * static.rows, pair[1] * blocks.key_block
    return Tile(
        pair,
        row,
        pair[0] * blocks.query_block,
        key_start,
        block_of(arrays.query, row, static.rows, -2),
        block_of(arrays.key, key_start, blocks.key_block, -2),
        block_of(arrays.value, key_start, blocks.key_block, -2),
    )


def block_of(x: Array, start: Array, size: int, axis: int) -> Array:
    """The `size` positions of `x` from `start` on."""
    return lax.dynamic_slice_in_dim(x, start, size, x.ndim + axis)


def put_block(x: Array, block: Array, start: Array, axis: int) -> Array:
    """`x` with a block overwritten."""
    return lax.dynamic_update_slice_in_dim(x, block, start, x.ndim + axis)


def product(a: Array, b: Array, contract: tuple[int, int], static: Static) -> Array:
    """A matrix product for each batch entry and head, in float32 or wider.

    Args:
      a: [*B, H, rows or contracted, ...].
      b: [*B, H, rows or contracted, ...].
      contract: which of the last two dimensions of `a` and of `b`, -2 or -1, is summed over.
      static: gives the precision.
    """
    batch = tuple(range(a.ndim - 2))
    inner = ((a.ndim + contract[0],), (b.ndim + contract[1],))
    wide = jnp.promote_types(a.dtype, jnp.float32)

    def of(a: Array, b: Array) -> Array:
        return lax.dot_general(
            a, b, (inner, (batch, batch)), static.precision, preferred_element_type=wide
        )

    if a.dtype == wide:
        return of(a, b)
    # XLA's CPU compiler fuses some half-precision products into a kernel that it doesn't have.
    # Products of half-precision numbers are exact in float32, so the result doesn't change.
    result: Array = lax.platform_dependent(
        a, b, cpu=lambda a, b: of(a.astype(wide), b.astype(wide)), default=of
    )
    return result


def logits_of(static: Static, arrays: Arrays, tile: Tile) -> Array:
    """[*B, H, r, k]: products plus bias, -∞ where a key is not visible."""
    blocks = static.blocks
    logits = product(tile.query, tile.key, (-1, -1), static)
    if arrays.bias is not None:
        bias = spread_block_of(static, arrays.bias, tile)
        logits = logits + _rows_of(static, bias).astype(logits.dtype)
    visible = None
    if arrays.mask is not None:
        visible = _rows_of(static, as_bool(spread_block_of(static, arrays.mask, tile)))
    columns = tile.key_start + lax.broadcasted_iota(jnp.int32, (1, blocks.key_block), 1)
    if blocks.padded_keys != blocks.keys:
        visible = _and(visible, columns < blocks.keys)
    if blocks.is_causal:
        rows = lax.broadcasted_iota(jnp.int32, (static.rows, 1), 0)
        positions = tile.query_start + rows % blocks.query_block + arrays.offset
        visible = _and(visible, columns <= positions)
    if visible is None:
        return logits
    return jnp.where(visible, logits, jnp.full((), -jnp.inf, logits.dtype))


def spread_block_of(static: Static, x: Array, tile: Tile) -> Array:
    """A tile's part of a bias or mask, [*B, H, G, q, k]; dimensions that broadcast stay."""
    if x.shape[-2] > 1:
        x = block_of(x, tile.query_start, static.blocks.query_block, -2)
    if x.shape[-1] > 1:
        x = block_of(x, tile.key_start, static.blocks.key_block, -1)
    return x


def _rows_of(static: Static, x: Array) -> Array:
    """[*B, H, r or 1, k] from [*B, H, G, q, k], dimensions of which may broadcast."""
    *outer, groups, queries, keys = x.shape
    if groups > 1 or queries > 1:
        x = jnp.broadcast_to(x, (*outer, static.groups, static.blocks.query_block, keys))
    return lax.reshape(x, (*outer, x.shape[-3] * x.shape[-2], keys))


def _and(a: Array | None, b: Array) -> Array:
    return b if a is None else jnp.logical_and(a, b)


def dropped(static: Static, arrays: Arrays, tile: Tile, x: Array) -> Array:
    """`x` [*B, H, r, k] with zeros where weights are dropped, the others scaled.

    Each block has its own key, so that the backward pass can draw the same mask again.
    """
    if arrays.dropout_key is None:
        return x
    blocks = static.blocks
    key = jax.random.fold_in(arrays.dropout_key, tile.pair[0] * blocks.key_blocks + tile.pair[1])
    if static.broadcast_dropout:
        shape = (blocks.query_block, blocks.key_block)
        keep = jnp.tile(jax.random.bernoulli(key, static.keep, shape), (static.groups, 1))
    else:
        keep = jax.random.bernoulli(key, static.keep, x.shape)
    return jnp.where(keep, x / static.keep, jnp.zeros((), x.dtype))


def if_visible(
    static: Static, arrays: Arrays, tile: Tile, work: Callable[[T], T], unchanged: T
) -> T:
    """`work(unchanged)`, unless causality masks the tile entirely.

    If that is known before the program runs, the tile isn't in the list of pairs at all.
    """
    blocks = static.blocks
    if not blocks.is_causal or blocks.offset is not None:
        return work(unchanged)
    last_visible = tile.query_start + blocks.query_block - 1 + arrays.offset
    result: Any = lax.cond(tile.key_start <= last_visible, work, lambda x: x, unchanged)
    return result  # type: ignore[no-any-return]
