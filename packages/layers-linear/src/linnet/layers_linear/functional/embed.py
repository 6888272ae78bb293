"""Rows of a table, looked up by integers, and the products of vectors with all of its rows.

N rows, D features.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import DtypeError, ShapeError, counted
from linnet.module_core.layers import (
    Array,
    DTypeLike,
    OutSharding,
    PromoteDtype,
    as_array,
    vector_features,
)
from linnet.module_core.layout import dot_layout, entries_of, layout_of, split

from ._options import checked_sharding


def embed(
    ids: Array,
    embedding: Array,
    *,
    dtype: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Looks up the rows of `embedding` with the given ids.

    An id of N or more gives NaN, so that the error is noticed; -1 is the last row. If the table
    has a single row, every id gives that row.

    Args:
      ids: [...], integers.
      embedding: [N, D].
      dtype: dtype of the result; None for that of `embedding`.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [..., D].

    Raises:
      DtypeError: `ids` are not integers.
      ShapeError: `embedding` isn't a matrix.

    >>> import jax.numpy as jnp
    >>> embed(jnp.array([2, -1, 3]), jnp.array([[1.0], [2.0], [3.0]]))[:, 0]
    Array([ 3.,  3., nan], dtype=float32)
    """
    if not isinstance(ids, jax.Array):
        ids = as_array(ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise DtypeError(
            f"Ids must be integers, got dtype {ids.dtype}.",
            hint="Ids index the rows of the table: convert them with `.astype(jax.numpy.int32)`.",
        )
    _require_matrix(embedding)
    # Not inexact: integer tables are supported.
    (embedding,) = promote_dtype(embedding, dtype=dtype, inexact=False)
    if checked_sharding(out_sharding) is None:
        out_sharding = _layout(ids, embedding)
    if out_sharding is not None:
        rows: Any = embedding.at[ids if embedding.shape[0] > 1 else jnp.zeros_like(ids)]
        y: Array = rows.get(mode="fill", out_sharding=out_sharding)  # [..., D]
        return y
    if embedding.shape[0] == 1:
        shape = (*ids.shape, embedding.shape[1])
        return lax.broadcast_in_dim(lax.squeeze(embedding, (0,)), shape, (ids.ndim,))  # [..., D]
    return jnp.take(embedding, ids, axis=0)  # [..., D]


def attend(
    query: Array,
    embedding: Array,
    *,
    dtype: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """The inner product of each query with each row of `embedding`.

    Args:
      query: [..., D].
      embedding: [N, D].
      dtype: the computation dtype; None for the common type of both.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [..., N]: the logits of a language model whose last layer shares the table of `embed`.

    Raises:
      ShapeError: the last dimension of `query` isn't D.

    >>> import jax.numpy as jnp
    >>> attend(jnp.ones((2, 3)), jnp.ones((5, 3))).shape
    (2, 5)
    """
    _require_matrix(embedding)
    query, embedding = promote_dtype(query, embedding, dtype=dtype)
    if vector_features(query.shape, "query") != embedding.shape[1]:
        raise ShapeError(
            f"query has shape {query.shape}, but its last dimension must be the embedding's "
            f"{counted(embedding.shape[1], 'feature')}.",
            hint="The product sums over the features.",
        )
    table = lax.transpose(embedding, (1, 0))  # [D, N]
    dimensions = (((query.ndim - 1,), (0,)), ((), ()))
    if checked_sharding(out_sharding) is None:
        out_sharding = dot_layout(query, table, dimensions)
    return lax.dot_general(query, table, dimensions, out_sharding=out_sharding)  # [..., N]


def _layout(ids: Array, embedding: Array) -> OutSharding | None:
    """The result's sharding if JAX requires one: that of ids and features."""
    of_ids, of_table = layout_of(ids), layout_of(embedding)
    either = of_ids or of_table
    if either is None:
        return None
    return split(either, (*entries_of(of_ids, ids.ndim), entries_of(of_table, 2)[1]))


def _require_matrix(embedding: Array) -> None:
    if embedding.ndim != 2:
        raise ShapeError(
            f"embedding has shape {embedding.shape}, expected (num_embeddings, features)."
        )
