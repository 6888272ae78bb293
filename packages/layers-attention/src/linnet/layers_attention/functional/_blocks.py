"""Cuts the logits into blocks, and lists the blocks that need computing.

All blocks of a call have the same size, so that a single scan runs over them. The list of pairs
(block of queries, block of keys) omits those that causality or a window masks entirely, so with a
window, time is linear in the length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# The logits of a block and their exponentials are read several times, so they should stay in a
# cache: for 8 heads, these sizes take 4 MiB. On CPUs, blocks of 128 x 512 to 512 x 512 of 8 heads
# take the same time to within 15%, those of 1024 x 1024 a third more.
QUERIES = 256
KEYS = 512
LEAST = 128
LOGITS_AT_ONCE = 8 * QUERIES * KEYS


class Blocks(NamedTuple):
    """The blocks of a call.

    Attributes:
      queries, keys: the numbers of queries and keys.
      query_block, key_block: the sizes of a block.
      left, right: query i, at position `offset` + i, sees keys that are fewer than `left` positions
        before it and fewer than `right` positions after it.
      offset: the position of the first query; None if positions are known only when the program
        runs.
    """

    queries: int
    keys: int
    query_block: int
    key_block: int
    left: int | None
    right: int | None
    offset: int | None

    @property
    def is_local(self) -> bool:
        """Whether causality or a window makes visibility depend on positions."""
        return self.left is not None or self.right is not None

    @property
    def query_blocks(self) -> int:
        """Number of blocks of queries; the last one may be padded."""
        return -(-self.queries // self.query_block)

    @property
    def key_blocks(self) -> int:
        """Number of blocks of keys; the last one may be padded."""
        return -(-self.keys // self.key_block)

    @property
    def padded_queries(self) -> int:
        """The total length of all blocks of queries."""
        return self.query_blocks * self.query_block

    @property
    def padded_keys(self) -> int:
        """The total length of all blocks of keys."""
        return self.key_blocks * self.key_block

    def pairs(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """[n, 2]: the blocks to visit; pairs with the same block of queries are consecutive."""
        rows, columns = np.indices((self.query_blocks, self.key_blocks), np.int32).reshape(2, -1)
        if self.offset is not None:
            first_query = self.offset + rows * self.query_block
            first_key = columns * self.key_block
            # Distances from the block's last query to its first key, and vice versa.
            visible = np.ones(rows.shape, bool)
            if self.right is not None:
                visible &= first_key - (first_query + self.query_block - 1) < self.right
            if self.left is not None:
                visible &= first_query - (first_key + self.key_block - 1) < self.left
            rows, columns = rows[visible], columns[visible]
        return np.stack([rows, columns], axis=1)

    def visits(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """[n, 3]: the pairs, and whether each is the first of its block of queries."""
        pairs = self.pairs()
        first = np.ones(len(pairs), np.int32)
        first[1:] = pairs[1:, 0] != pairs[:-1, 0]
        return np.concatenate([pairs, first[:, None]], axis=1)


def cut(
    queries: int,
    keys: int,
    lanes: int,
    left: int | None,
    right: int | None,
    offset: int | None,
) -> Blocks:
    """The blocks for two lengths; each contains all `lanes` (heads times batch entries)."""
    query_block, key_block = QUERIES, KEYS
    while lanes * query_block * key_block > LOGITS_AT_ONCE and key_block > LEAST:
        key_block //= 2
        query_block = min(query_block, key_block)
    return Blocks(
        queries,
        keys,
        _even(queries, query_block),
        _even(keys, key_block),
        left,
        right,
        offset,
    )


def _even(length: int, largest: int) -> int:
    """A size up to `largest` with little padding in the last block.

    It is a multiple of 8, which suits every processor's registers.
    """
    blocks = -(-length // largest)
    return -(-length // blocks // 8) * 8
