"""`RelativePositionBias`: a learned number for each bucket of distances, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer, normal
from linnet.layers_attention._torch import POSITION_BIAS
from linnet.layers_attention.functional import RelativeBuckets
from linnet.layers_attention.functional.position_bias import check_buckets
from linnet.module_core.layers import DTypeLike, integer
from linnet.module_core.linen import Module, compact


class RelativePositionBias(Module):
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

    >>> import jax, jax.numpy as jnp
    >>> bias, variables = RelativePositionBias(num_heads=2).init_with_output(jax.random.key(0))
    >>> variables["params"]["embedding"].shape, bias(jnp.array([-1, 0, 1])).shape
    ((32, 2), (2, 3))
    """

    __torch_layout__ = POSITION_BIAS

    num_heads: int
    num_buckets: int = 32
    bidirectional: bool = True
    max_distance: int = 128
    param_dtype: DTypeLike = jnp.float32
    embedding_init: Initializer = normal(1.0)

    @compact
    def __call__(self) -> RelativeBuckets:
        """The bias, as a function of distances."""
        heads = integer(self.num_heads, "num_heads", least=1)
        buckets = integer(self.num_buckets, "num_buckets", least=1)
        check_buckets(buckets, self.bidirectional, self.max_distance)
        table = self.param("embedding", self.embedding_init, (buckets, heads), self.param_dtype)
        return RelativeBuckets(table, self.bidirectional, self.max_distance)
