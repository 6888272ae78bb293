"""`Embed`: a table of vectors, looked up by integers, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_embed_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import EMBED
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DTypeLike,
    Metadata,
    OutSharding,
    PromoteDtype,
    integer,
)
from linnet.module_core.layers.nnx import Layer, new_param, promote_dtype, spread, value_of
from linnet.module_core.nnx import Param, Rngs


class Embed(Layer):
    """A table of vectors for the integers in [0, `num_embeddings`), with `features` entries each.

    An id of `num_embeddings` or more gives NaN; in a table of one row, every id gives that row.

    Args:
      num_embeddings: number of rows, the size of the vocabulary.
      features: number of features of each row.
      dtype: dtype of the vectors; None for that of the table.
      param_dtype: dtype of the table.
      embedding_init: initializer of the table.
      promote_dtype: casts the tuple of the table (in `attend`, query and table) to the computation
        dtype.
      rngs: draws the table.
      embedding_metadata: metadata of the table.

    Attributes:
      embedding: `Param` of shape [num_embeddings, features].
      dtype: dtype of the vectors.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = Embed(num_embeddings=5, features=3, rngs=Rngs(0))
    >>> layer(jnp.array([[0, 1, 2], [-1, -2, -3]])).shape
    (2, 3, 3)
    >>> layer.attend(jnp.ones((2, 3))).shape
    (2, 5)
    """

    __torch_layout__ = EMBED

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        embedding_init: Initializer = default_embed_init,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
        embedding_metadata: Metadata = NO_METADATA,
    ) -> None:
        self.num_embeddings = integer(num_embeddings, "num_embeddings", least=1)
        self.features = integer(features, "features")
        shape = (self.num_embeddings, self.features)
        self.embedding: Param[Array] = new_param(
            self, embedding_init, shape, param_dtype, rngs, embedding_metadata
        )
        self.dtype = self.embedding.dtype if dtype is None else dtype
        self.param_dtype = param_dtype
        self.promote_dtype = promote_dtype

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Looks up the rows with the given ids.

        Args:
          inputs: [...], integers.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., features].
        """
        return functional.embed(
            inputs,
            value_of(self.embedding),
            dtype=self.dtype,
            out_sharding=out_sharding,
            promote_dtype=spread(self.promote_dtype),
        )

    def attend(self, query: Array, out_sharding: OutSharding | None = None) -> Array:
        """The inner product of each query with each row: one table for ids and for logits.

        Args:
          query: [..., features].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., num_embeddings].
        """
        return functional.attend(
            query,
            value_of(self.embedding),
            dtype=self.dtype,
            out_sharding=out_sharding,
            promote_dtype=spread(self.promote_dtype),
        )
