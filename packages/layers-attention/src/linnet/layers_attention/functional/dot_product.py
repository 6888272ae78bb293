"""Attention as a function of queries, keys and values (Vaswani et al. 2017, arXiv:1706.03762).

    output = softmax(cap(q·kᵀ / √D) + bias) · v

This file checks the arguments and chooses the implementation: `exact` with all logits in memory at
once, `chunked` block by block, or `fused` in a kernel of the device.

B batch (any number of dimensions), Q queries, K keys, H heads, G query heads that share a key head,
D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array, DotGeneral, DTypeLike, EinsumOp, PrecisionLike

from . import exact
from ._call import OnWeights, checked_call
from ._checks import Implementation
from ._choice import attend
from ._limits import Window
from ._products import Products, products
from .position_bias import DistanceBias


def dot_product_attention_weights(
    query: Array,
    key: Array,
    bias: Array | DistanceBias | None = None,
    mask: Array | None = None,
    *,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    einsum: EinsumOp | None = None,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    key_positions: Array | None = None,
    window: Window = None,
    segment_ids: Array | None = None,
    key_segment_ids: Array | None = None,
    scale: float | Array | None = None,
    soft_cap: float | None = None,
    sinks: Array | None = None,
    on_weights: OnWeights | None = None,
) -> Array:
    """The weights that each query gives to the keys; see `dot_product_attention`.

    Args:
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      bias: broadcasts to [*B, H, Q, K]; added to the logits. Or a function of the distances of keys
        from queries, int32 [...], that returns [H, ...]: `ALiBi`, `RelativeBuckets`, or a
        `jax.tree_util.Partial` of your own, whose arrays get gradients.
      mask: broadcasts to [*B, H, Q, K]; attention is forbidden where it is zero.
      broadcast_dropout: all batch entries and heads drop the same weights.
      dropout_rng: the random key for dropout.
      dropout_rate: the probability that a weight is dropped, within [0, 1].
      deterministic: disables dropout.
      dtype: the computation dtype; None for the common type of query and key.
      precision: see `jax.lax.Precision`.
      force_fp32_for_softmax: computes the softmax in float32 and doesn't cast it back.
      einsum_dot_general: replaces `jax.lax.dot_general`.
      einsum: computes the product, without precision or dot_general: `einsum(equation, q, k)`.
      is_causal: query i sees only the keys up to `query_offset` + i.
      query_offset: the position of the first query among the keys; [*B] if each batch entry has its
        own.
      key_positions: positions of the keys, integers that broadcast to [*B, K]; None for 0, 1, ….
      window: how many positions a query sees to the left and to the right, each including its own:
        w for both sides, or a pair, in which None sets no limit. With `is_causal`, a query sees the
        last w keys.
      segment_ids: integers that broadcast to [*B, Q], such as the number of the text in a row of
        several; a query sees the keys of its own segment.
      key_segment_ids: the same for the keys, [*B, K]; None for `segment_ids`.
      scale: the factor of the products of queries and keys; None for 1/√D.
      soft_cap: c, bounds the scaled products: c · tanh(x / c), before the bias is added (Gemma 2,
        arXiv:2408.00118).
      sinks: [H], an additional logit of each head that takes part in the softmax and has no value
        (gpt-oss, arXiv:2508.10925).
      on_weights: called with the weights before dropout.

    Returns:
      [*B, H, Q, K].

    Raises:
      ArgumentError: `einsum` is given together with `precision` or `einsum_dot_general`, the
        rate is outside [0, 1], a window is below 1, or a cap is not above 0.
      DtypeError: segments or positions are not integers.
      ShapeError: the arrays don't fit together.
      InvalidRngError: dropout needs a key.

    >>> import jax.numpy as jnp
    >>> dot_product_attention_weights(jnp.ones((2, 1, 4)), jnp.ones((2, 1, 4)), is_causal=True)
    Array([[[1. , 0. ],
            [0.5, 0.5]]], dtype=float32)
    """
    if einsum is not None and (precision is not None or einsum_dot_general is not None):
        raise ArgumentError(
            "The einsum replaces the products, so nothing would use "
            f"precision={precision!r} and einsum_dot_general={einsum_dot_general!r}.",
            hint=(
                "Pass the precision to the einsum, e.g. functools.partial(jax.numpy.einsum, "
                "precision=...)."
            ),
        )
    call = checked_call(
        query,
        key,
        None,
        bias,
        mask,
        broadcast_dropout=broadcast_dropout,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        deterministic=deterministic,
        dtype=dtype,
        products=Products(precision, einsum_dot_general, einsum),
        float32_softmax=force_fp32_for_softmax,
        on_weights=on_weights,
        is_causal=is_causal,
        query_offset=query_offset,
        key_positions=key_positions,
        window=window,
        segment_ids=segment_ids,
        key_segment_ids=key_segment_ids,
        scale=scale,
        soft_cap=soft_cap,
        sinks=sinks,
    )
    return exact.weights_of(call)


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | DistanceBias | None = None,
    mask: Array | None = None,
    *,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    qk_attn_weights_einsum: EinsumOp | None = None,
    attn_weights_value_einsum: EinsumOp | None = None,
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
    on_weights: OnWeights | None = None,
) -> Array:
    """The mean of the values, weighted by how well each key matches the query.

    A fully masked query gets the plain mean of all values, or zero if there are sinks; its
    gradients are finite, and zero for query and key.

    Args:
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D]; G > 1 query heads share a head of keys and values (grouped-query
        attention, arXiv:2305.13245): head h of the query uses head h // G.
      value: [*B, K, H/G, E].
      bias: broadcasts to [*B, H, Q, K]; added to the logits. Or a function of the distances of keys
        from queries, int32 [...], that returns [H, ...]: `ALiBi`, `RelativeBuckets`, or a
        `jax.tree_util.Partial` of your own, whose arrays get gradients.
      mask: broadcasts to [*B, H, Q, K]; attention is forbidden where it is zero.
      broadcast_dropout: all batch entries and heads drop the same weights.
      dropout_rng: the random key for dropout.
      dropout_rate: the probability that a weight is dropped, within [0, 1].
      deterministic: disables dropout.
      dtype: the computation dtype; None for the common type of query, key and value.
      precision: see `jax.lax.Precision`.
      force_fp32_for_softmax: computes the softmax in float32 and doesn't cast it back.
      einsum_dot_general: replaces `jax.lax.dot_general`.
      qk_attn_weights_einsum: computes the logits, as `einsum(equation, query, key)`.
      attn_weights_value_einsum: computes the output, as `einsum(equation, weights, value)`.
      is_causal: query i sees only the keys up to `query_offset` + i. Unlike a causal mask, this
        needs no array of Q·K numbers, and masked logits need not be computed.
      query_offset: the position of the first query among the keys; [*B] if each batch entry has its
        own.
      key_positions: positions of the keys, integers that broadcast to [*B, K]; None for 0, 1, ….
      window: how many positions a query sees to the left and to the right, each including its own:
        w for both sides, or a pair, in which None sets no limit. With `is_causal`, a query sees the
        last w keys.
      segment_ids: integers that broadcast to [*B, Q], such as the number of the text in a row of
        several; a query sees the keys of its own segment.
      key_segment_ids: the same for the keys, [*B, K]; None for `segment_ids`.
      scale: the factor of the products of queries and keys; None for 1/√D.
      soft_cap: c, bounds the scaled products: c · tanh(x / c), before the bias is added (Gemma 2,
        arXiv:2408.00118).
      sinks: [H], an additional logit of each head that takes part in the softmax and has no value
        (gpt-oss, arXiv:2508.10925).
      implementation: "exact", "chunked", "cudnn" or "auto"; see `implementation_for`.
      on_weights: called with the weights before dropout.

    Returns:
      [*B, Q, H, E].

    Raises:
      ArgumentError: einsums are given singly or together with `precision` or `einsum_dot_general`,
        the rate is outside [0, 1], a window is below 1, a cap is not above 0, or the implementation
        is unknown or doesn't support the options.
      DtypeError: segments or positions are not integers.
      ShapeError: the arrays don't fit together.
      InvalidRngError: dropout needs a key.

    >>> import jax.numpy as jnp
    >>> values = jnp.arange(3.0).reshape(3, 1, 1)
    >>> same = jnp.ones((3, 1, 4))
    >>> dot_product_attention(same, same, values, is_causal=True).ravel()
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    call = checked_call(
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
        products=products(
            precision, einsum_dot_general, qk_attn_weights_einsum, attn_weights_value_einsum
        ),
        float32_softmax=force_fp32_for_softmax,
        on_weights=on_weights,
        is_causal=is_causal,
        query_offset=query_offset,
        key_positions=key_positions,
        window=window,
        segment_ids=segment_ids,
        key_segment_ids=key_segment_ids,
        scale=scale,
        soft_cap=soft_cap,
        sinks=sinks,
    )
    return attend(call, implementation)
