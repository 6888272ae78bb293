"""`SelfAttention`: multi-head attention of an input to itself, kept for older programs."""

from __future__ import annotations

import warnings

from linnet.module_core.layers import Array, OutSharding
from linnet.module_core.linen import compact

from .multi_head import MultiHeadDotProductAttention


class SelfAttention(MultiHeadDotProductAttention):
    """Deprecated: `MultiHeadDotProductAttention` with one input does the same.

    >>> import jax, jax.numpy as jnp, warnings
    >>> attend = SelfAttention(num_heads=4, qkv_features=32)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     y, variables = attend.init_with_output(jax.random.key(0), jnp.ones((2, 6, 12)))
    >>> y.shape
    (2, 6, 12)
    """

    @compact
    def __call__(  # type: ignore[override]  # mask comes second, and there are no other inputs
        self,
        inputs_q: Array,
        mask: Array | None = None,
        deterministic: bool | None = None,
        dropout_rng: Array | None = None,
        sow_weights: bool = False,
        *,
        is_causal: bool = False,
        out_sharding: OutSharding | None = None,
        qkv_sharding: OutSharding | None = None,
    ) -> Array:
        """Attends from the inputs to themselves; see `MultiHeadDotProductAttention`.

        Args:
          inputs_q: [*B, Q, C].
          mask: broadcasts to [*B, H, Q, Q].
          deterministic: disables dropout; required if the constructor didn't get it.
          dropout_rng: the random key for dropout; None draws one from the stream "dropout".
          sow_weights: sows the weights before dropout as "attention_weights" in "intermediates".
          is_causal: query i sees only the keys up to i.
          out_sharding, qkv_sharding: shardings of the output, and of queries, keys and values, on a
            mesh with explicit axes.

        Returns:
          [*B, Q, out_features].
        """
        warnings.warn(
            "SelfAttention is deprecated: call MultiHeadDotProductAttention with inputs_q alone.",
            DeprecationWarning,
            stacklevel=3,
        )
        return super().__call__(
            inputs_q,
            mask=mask,
            deterministic=deterministic,
            dropout_rng=dropout_rng,
            sow_weights=sow_weights,
            is_causal=is_causal,
            out_sharding=out_sharding,
            qkv_sharding=qkv_sharding,
        )
