"""`RelativePositionBias`: a learned number for each bucket of distances, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer, normal
from linnet.layers_attention._torch import POSITION_BIAS
from linnet.layers_attention.functional import RelativeBuckets
from linnet.layers_attention.functional.position_bias import check_buckets
from linnet.module_core.layers import NO_METADATA, Array, DTypeLike, Metadata, integer
from linnet.module_core.layers.nnx import Layer, new_param, value_of
from linnet.module_core.nnx import Param, Rngs

_embedding_init = normal(1.0)


class RelativePositionBias(Layer):
    """The bias of T5, by buckets of distances; see `functional.RelativeBuckets`.

    The module owns the table. Its result is passed as `bias` to one or several attention layers,
    which evaluate it block by block.

    Args:
      num_heads: H, heads of the queries.
      num_buckets: the number of buckets.
      bidirectional: half of the buckets are for keys after the query.
      max_distance: keys at this distance or farther share the last bucket.
      param_dtype: dtype of the table.
      embedding_init: initializer of the table.
      rngs: draws the table.
      embedding_metadata: metadata of the table.

    Attributes:
      embedding: `Param` of shape [num_buckets, H].

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> bias = RelativePositionBias(num_heads=2, rngs=Rngs(0))
    >>> bias.embedding.shape, bias()(jnp.array([-1, 0, 1])).shape
    ((32, 2), (2, 3))
    """

    __torch_layout__ = POSITION_BIAS

    def __init__(
        self,
        num_heads: int,
        num_buckets: int = 32,
        *,
        bidirectional: bool = True,
        max_distance: int = 128,
        param_dtype: DTypeLike = jnp.float32,
        embedding_init: Initializer = _embedding_init,
        rngs: Rngs,
        embedding_metadata: Metadata = NO_METADATA,
    ) -> None:
        self.num_heads = integer(num_heads, "num_heads", least=1)
        self.num_buckets = integer(num_buckets, "num_buckets", least=1)
        check_buckets(self.num_buckets, bidirectional, max_distance)
        self.bidirectional = bidirectional
        self.max_distance = max_distance
        self.param_dtype = param_dtype
        self.embedding: Param[Array] = new_param(
            self,
            embedding_init,
            (self.num_buckets, self.num_heads),
            param_dtype,
            rngs,
            embedding_metadata,
        )

    def __call__(self) -> RelativeBuckets:
        """The bias, as a function of distances."""
        table = value_of(self.embedding)
        return RelativeBuckets(table, self.bidirectional, self.max_distance)
