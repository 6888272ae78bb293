"""The logits of one block, which the forward and backward passes of chunked attention share.

Query heads that share a key head act as additional queries for it: a *row* is a query of one of the
G heads of a group. The G·q rows of a block of q queries are consecutive, so that each product over
a block is a plain matrix product per key head.

B batch (any number of dimensions), R rows and K keys, padded to whole blocks of r = G·q and k, H
key heads, G query heads that share one, D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.layers import Array, PrecisionLike

from ._blocks import Blocks
from ._visible import as_bool, both, within
from .exact import capped
from .position_bias import DistanceBias, everywhere, in_a_row

T = TypeVar("T")


class Static(NamedTuple):
    """The properties of a call that are known before the program runs.

    Attributes:
      blocks: the blocks of the logits.
      groups: G.
      precision: precision of the matrix products.
      keep: the probability that a weight is kept.
      broadcast_dropout: whether all batch entries and heads drop the same weights.
      soft_cap: bound of the logits before the bias, or None.
      distance_bias: the structure of a bias that is a function of distances, or None.
    """

    blocks: Blocks
    groups: int
    precision: PrecisionLike
    keep: float
    broadcast_dropout: bool
    soft_cap: float | None = None
    distance_bias: Any = None

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
      bias_leaves: the arrays of a bias that is a function of distances.
      sinks: [H, G], an additional logit of each head; or None.
      positions: broadcasts to [*B, Q] and has its rank; None if they are `offset` + i.
      key_positions: like `positions`, [*B, K]; None if they are j.
      segments, key_segments: like `positions` and `key_positions`, or None.
      meets: [query blocks, key blocks], whether any query of one block may see a key of the other;
        None if that is known before the program runs.
    """

    query: Array
    key: Array
    value: Array
    bias: Array | None
    mask: Array | None
    offset: Array
    dropout_key: Array | None
    bias_leaves: tuple[Array, ...] = ()
    sinks: Array | None = None
    positions: Array | None = None
    key_positions: Array | None = None
    segments: Array | None = None
    key_segments: Array | None = None
    meets: Array | None = None


class Tile(NamedTuple):
    """One block of queries and one block of keys.

    Attributes:
      pair: [3], their indices, and whether the pair is the first of its block of queries.
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
      static: contains the precision.
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


def products_of(static: Static, tile: Tile) -> Array:
    """[*B, H, r, k]: the scaled products of queries and keys."""
    return product(tile.query, tile.key, (-1, -1), static)


def logits_of(
    static: Static,
    arrays: Arrays,
    tile: Tile,
    products: Array,
    bias_leaves: tuple[Array, ...],
) -> Array:
    """[*B, H, r, k]: capped products plus bias, -∞ where a key is not visible.

    The backward pass differentiates this function with respect to `products` and `bias_leaves`.
    """
    logits = products
    if static.soft_cap is not None:
        logits = capped(logits, static.soft_cap)
    if arrays.bias is not None:
        bias = spread_block_of(static, arrays.bias, tile)
        logits = logits + _rows_of(static, bias).astype(logits.dtype)
    if static.distance_bias is not None:
        function = jax.tree.unflatten(static.distance_bias, bias_leaves)
        bias = _rows_of(static, _distance_bias(static, arrays, tile, function))
        logits = logits + bias.astype(logits.dtype)
    visible = _visible(static, arrays, tile)
    if visible is None:
        return logits
    return jnp.where(visible, logits, jnp.full((), -jnp.inf, logits.dtype))


def _visible(static: Static, arrays: Arrays, tile: Tile) -> Array | None:
    """Whether each key of a tile is visible; broadcasts to [*B, H, r, k]. None if all are."""
    blocks = static.blocks
    visible = None
    if arrays.mask is not None:
        visible = _rows_of(static, as_bool(spread_block_of(static, arrays.mask, tile)))
    columns = tile.key_start + lax.broadcasted_iota(jnp.int32, (1, blocks.key_block), 1)
    if blocks.padded_keys != blocks.keys:
        visible = both(visible, columns < blocks.keys)
    if blocks.is_local:
        if arrays.positions is None:
            rows = lax.broadcasted_iota(jnp.int32, (static.rows, 1), 0)
            positions = tile.query_start + rows % blocks.query_block + arrays.offset
        else:
            positions = _of_rows(static, arrays.positions, tile)
        if arrays.key_positions is not None:
            columns = _of_columns(static, arrays.key_positions, tile)
        local = within(blocks.left, blocks.right, positions, columns)
        assert local is not None
        visible = both(visible, local)
    if arrays.segments is not None and arrays.key_segments is not None:
        queries = _of_rows(static, arrays.segments, tile)
        visible = both(visible, queries == _of_columns(static, arrays.key_segments, tile))
    return visible


def _of_rows(static: Static, x: Array, tile: Tile) -> Array:
    """A property of each query, [*B, Q], for the rows of a tile: [*B, 1, r, 1]."""
    x = block_of(x, tile.query_start, static.blocks.query_block, -1)
    x = jnp.concatenate([x] * static.groups, -1)
    return lax.expand_dims(x, (x.ndim - 1, x.ndim + 1))


def _of_columns(static: Static, x: Array, tile: Tile) -> Array:
    """A property of each key, [*B, K], for those of a tile: [*B, 1, 1, k]."""
    x = block_of(x, tile.key_start, static.blocks.key_block, -1)
    return lax.expand_dims(x, (x.ndim - 1, x.ndim))


def _distance_bias(static: Static, arrays: Arrays, tile: Tile, function: DistanceBias) -> Array:
    """A tile's part of a bias that is a function of distances: [*B, H, G, q, k]."""
    blocks, key_heads = static.blocks, arrays.query.shape[-3]
    q, k, heads = blocks.query_block, blocks.key_block, key_heads * static.groups
    if arrays.positions is None and arrays.key_positions is None:
        first = tile.key_start - tile.query_start - arrays.offset
        bias = in_a_row(function, first, q, k, heads)  # [H·G, q, k]
    else:
        queries = lax.iota(jnp.int32, q) + tile.query_start + arrays.offset
        keys = lax.iota(jnp.int32, k) + tile.key_start
        if arrays.positions is not None:
            queries = block_of(arrays.positions, tile.query_start, q, -1)
        if arrays.key_positions is not None:
            keys = block_of(arrays.key_positions, tile.key_start, k, -1)
        bias = everywhere(function, queries, keys, heads)  # [*B, H·G, q, k]
    split = (1, 1) if bias.shape[-3] == 1 else (key_heads, static.groups)
    return lax.reshape(bias, (*bias.shape[:-3], *split, q, k))


def spread_block_of(static: Static, x: Array, tile: Tile) -> Array:
    """A tile's part of a bias or mask, [*B, H, G, q, k]; dimensions that broadcast keep size 1."""
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
    """`work(unchanged)` if a query of the tile may see one of its keys, else `unchanged`.

    If that is known before the program runs, only visible tiles are in the list of pairs.
    """
    if arrays.meets is None:
        return work(unchanged)
    meets = arrays.meets[tile.pair[0], tile.pair[1]]
    result: Any = lax.cond(meets, work, lambda x: x, unchanged)
    return result  # type: ignore[no-any-return]
