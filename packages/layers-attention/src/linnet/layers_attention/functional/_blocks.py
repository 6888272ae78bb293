"""Cuts the logits into blocks, and lists the blocks that need computing.

All blocks of a call have the same size, so that a single scan runs over them. Its list of pairs
(block of queries, block of keys) omits those that causality masks entirely.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# The logits of a block and their exponentials are read several times, so they should stay in a
# cache: for 8 heads, these sizes take 4 MiB. On CPUs, blocks of 128 x 512 to 512 x 512 of 8 heads
# take the same time within 15 %, those of 1024 x 1024 a third more.
QUERIES = 256
KEYS = 512
LEAST = 128
LOGITS_AT_ONCE = 8 * QUERIES * KEYS


class Blocks(NamedTuple):
    """The blocks of a call.

    Attributes:
      queries, keys: the numbers of queries and keys.
      query_block, key_block: the sizes of a block.
      is_causal: query i sees the keys up to `offset` + i.
      offset: the position of the first query; None if known only when the program runs.
    """

    queries: int
    keys: int
    query_block: int
    key_block: int
    is_causal: bool
    offset: int | None

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
        if self.is_causal and self.offset is not None:
            last_visible = self.offset + (rows + 1) * self.query_block - 1
            visible = columns * self.key_block <= last_visible
            rows, columns = rows[visible], columns[visible]
        return np.stack([rows, columns], axis=1)


def cut(queries: int, keys: int, lanes: int, is_causal: bool, offset: int | None) -> Blocks:
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
        is_causal,
        offset,
    )


def _even(length: int, largest: int) -> int:
    """A size up to `largest` with little padding in the last block.

    A multiple of 8, which suits every processor's registers.
    """
    blocks = -(-length // largest)
    return -(-length // blocks // 8) * 8
