"""`Embed`: a table of vectors, looked up by integers, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_embed_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import EMBED
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import Array, DTypeLike, OutSharding, PromoteDtype, integer
from linnet.module_core.linen import Module


class Embed(Module):
    """A table with a vector of `features` entries for each integer in [0, `num_embeddings`).

    The table is created in `setup`, so that `attend` and modules that share `embedding` find it
    too. An id of `num_embeddings` or more gives NaN; in a table of one row, every id gives that
    row.

    Args:
      num_embeddings: number of rows, the size of the vocabulary.
      features: number of features of each row.
      dtype: dtype of the vectors; None for that of the table.
      param_dtype: dtype of the table.
      embedding_init: initializer of the table.
      promote_dtype: casts the table (and in `attend` the query) to the computation dtype.

    >>> import jax, jax.numpy as jnp
    >>> words = Embed(100, 8)
    >>> ids = jnp.array([[7, 99, 0], [-1, 3, 3]])
    >>> variables = words.init(jax.random.key(0), ids)
    >>> words.apply(variables, ids).shape
    (2, 3, 8)
    >>> words.apply(variables, jnp.ones((2, 8)), method="attend").shape
    (2, 100)
    """

    __torch_layout__ = EMBED

    num_embeddings: int
    features: int
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    embedding_init: Initializer = default_embed_init
    promote_dtype: PromoteDtype = promote_dtype

    def setup(self) -> None:
        """Declares the table."""
        shape = (
            integer(self.num_embeddings, "num_embeddings", least=1),
            integer(self.features, "features"),
        )
        self.embedding = self.param("embedding", self.embedding_init, shape, self.param_dtype)

    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Looks up the rows with the given ids.

        Args:
          inputs: [...], integers.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., features].
        """
        return functional.embed(
            inputs,
            self.embedding,
            dtype=self.dtype,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )

    def attend(self, query: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """The inner product of each query with each row: one table for ids and for logits.

        Args:
          query: [..., features].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., num_embeddings].
        """
        return functional.attend(
            query,
            self.embedding,
            dtype=self.dtype,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )
