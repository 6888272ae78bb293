"""The functions of `functional` with arguments in linen's order, and a module to sow in.

B batch (any number of dimensions), Q queries, K keys, H heads, G query heads that share a key head,
D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from linnet.layers_attention import functional
from linnet.layers_attention.functional._call import OnWeights
from linnet.layers_attention.functional._checks import Implementation
from linnet.layers_attention.functional._limits import Window
from linnet.layers_attention.functional.position_bias import DistanceBias
from linnet.module_core.layers import Array, DotGeneral, DTypeLike, EinsumOp, PrecisionLike
from linnet.module_core.linen import Module


def dot_product_attention_weights(
    query: Array,
    key: Array,
    bias: Array | DistanceBias | None = None,
    mask: Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    einsum: EinsumOp | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    key_positions: Array | None = None,
    window: Window = None,
    segment_ids: Array | None = None,
    key_segment_ids: Array | None = None,
    scale: float | Array | None = None,
    soft_cap: float | None = None,
    sinks: Array | None = None,
) -> Array:
    """The weights that each query gives to the keys: [*B, H, Q, K].

    The arguments and errors are those of `functional.dot_product_attention_weights`, and:

    Args:
      module: sows the weights before dropout as "attention_weights" in "intermediates".

    >>> import jax.numpy as jnp
    >>> dot_product_attention_weights(jnp.ones((2, 1, 4)), jnp.ones((2, 1, 4))).shape
    (1, 2, 2)
    """
    return functional.dot_product_attention_weights(
        query,
        key,
        bias,
        mask,
        broadcast_dropout=broadcast_dropout,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        deterministic=deterministic,
        dtype=dtype,
        precision=precision,
        force_fp32_for_softmax=force_fp32_for_softmax,
        einsum_dot_general=einsum_dot_general,
        einsum=einsum,
        is_causal=is_causal,
        query_offset=query_offset,
        key_positions=key_positions,
        window=window,
        segment_ids=segment_ids,
        key_segment_ids=key_segment_ids,
        scale=scale,
        soft_cap=soft_cap,
        sinks=sinks,
        on_weights=_sown_in(module),
    )


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | DistanceBias | None = None,
    mask: Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    qk_attn_weights_einsum: EinsumOp | None = None,
    attn_weights_value_einsum: EinsumOp | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    key_positions: Array | None = None,
    window: Window = None,
    segment_ids: Array | None = None,
    key_segment_ids: Array | None = None,
    scale: float | Array | None = None,
    soft_cap: float | None = None,
    sinks: Array | None = None,
    implementation: Implementation = "auto",
) -> Array:
    """The mean of the values, weighted by how well each key matches the query: [*B, Q, H, E].

    The arguments and errors are those of `functional.dot_product_attention`, and:

    Args:
      module: sows the weights before dropout as "attention_weights" in "intermediates".

    >>> import jax.numpy as jnp
    >>> values = jnp.arange(3.0).reshape(3, 1, 1)
    >>> same = jnp.ones((3, 1, 4))
    >>> dot_product_attention(same, same, values, is_causal=True).ravel()
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    return functional.dot_product_attention(
        query,
        key,
        value,
        bias,
        mask,
        broadcast_dropout=broadcast_dropout,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        deterministic=deterministic,
        dtype=dtype,
        precision=precision,
        force_fp32_for_softmax=force_fp32_for_softmax,
        einsum_dot_general=einsum_dot_general,
        qk_attn_weights_einsum=qk_attn_weights_einsum,
        attn_weights_value_einsum=attn_weights_value_einsum,
        is_causal=is_causal,
        query_offset=query_offset,
        key_positions=key_positions,
        window=window,
        segment_ids=segment_ids,
        key_segment_ids=key_segment_ids,
        scale=scale,
        soft_cap=soft_cap,
        sinks=sinks,
        implementation=implementation,
        on_weights=_sown_in(module),
    )


def _sown_in(module: Module | None) -> OnWeights | None:
    if module is None:
        return None
    return lambda weights: module.sow("intermediates", "attention_weights", weights)
