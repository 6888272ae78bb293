"""The functions of `functional` with arguments in nnx's order, and a module to sow in.

Short sequences without dropout use `jax.nn.dot_product_attention`, as in Flax, for the same
rounding; all others are computed as in `functional`.

B batch (any number of dimensions), Q queries, K keys, H heads, G query heads that share a key head,
D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from linnet.layers_attention.functional import exact
from linnet.layers_attention.functional._call import Call, OnWeights, checked_call
from linnet.layers_attention.functional._checks import Implementation
from linnet.layers_attention.functional._choice import attend, implementation_for, record
from linnet.layers_attention.functional._limits import Window
from linnet.layers_attention.functional._products import Products
from linnet.layers_attention.functional.fused import attend_in_one
from linnet.layers_attention.functional.position_bias import DistanceBias
from linnet.module_core.layers import Array, DTypeLike, PrecisionLike
from linnet.module_core.layers.nnx import promote_dtype
from linnet.module_core.layout import entries_of, layout_of
from linnet.module_core.nnx import Intermediate, Module


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
    promote_dtype: Callable[..., Any] = promote_dtype,
    is_causal: bool = False,
    *,
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
      module: sows the weights before dropout as `Intermediate` "attention_weights".
      promote_dtype: casts the tuple of query and key.

    >>> import jax.numpy as jnp
    >>> dot_product_attention_weights(jnp.ones((2, 1, 4)), jnp.ones((2, 1, 4))).shape
    (1, 2, 2)
    """
    query, key = promote_dtype((query, key), dtype=dtype)
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
        products=Products(precision),
        float32_softmax=False,
        on_weights=_sown_in(module),
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
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    promote_dtype: Callable[..., Any] = promote_dtype,
    is_causal: bool = False,
    *,
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
      module: sows the weights before dropout as `Intermediate` "attention_weights".
      promote_dtype: casts the tuple of query, key and value.
      implementation: "auto" is `jax.nn.dot_product_attention` for short sequences in float32 or
        narrower (jax's function does not compute the softmax in float64) if D = E, which jax
        requires, and         without dropout rate, module, precision, scale, soft cap or sinks.

    >>> import jax.numpy as jnp
    >>> values = jnp.arange(3.0).reshape(3, 1, 1)
    >>> same = jnp.ones((3, 1, 4))
    >>> dot_product_attention(same, same, values, is_causal=True).ravel()
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    query, key, value = promote_dtype((query, key, value), dtype=dtype)
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
        products=Products(precision),
        float32_softmax=False,
        on_weights=_sown_in(module),
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
    plain = dropout_rate == 0.0 and module is None and precision is None
    if implementation == "auto" and plain and _is_usual(call) and _is_exact(call):
        record("xla")
        return attend_in_one(call, "xla")
    return attend(call, implementation)


def _is_exact(call: Call) -> bool:
    return implementation_for(call, "auto") == "exact"


def _is_usual(call: Call) -> bool:
    """Whether jax's function supports the call: real numbers, and values as deep as keys.

    It also accepts float64, but rounds the softmax to float32.
    """
    assert call.value is not None
    dtype = call.query.dtype
    narrow = dtype.itemsize <= 4 and bool(jnp.issubdtype(dtype, jnp.floating))
    unchanged = call.soft_cap is None and call.sinks is None and call.scale is None
    return narrow and unchanged and call.value.shape[-1] == call.sizes.depth and not _is_split(call)


def _is_split(call: Call) -> bool:
    """Whether the sequence or depth is split over explicit axes, which jax's function can't do."""
    splits = (entries_of(layout_of(x), 3) for x in (call.query, call.key, call.value))
    return any(entries[-3] or entries[-1] for entries in splits)


def _sown_in(module: Module | None) -> OnWeights | None:
    if module is None:
        return None
    return lambda weights: module.sow(Intermediate, "attention_weights", weights)
