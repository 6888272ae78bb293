"""Attention with all logits in memory at once (Vaswani et al. 2017, arXiv:1706.03762).

    weights = softmax(cap(q·kᵀ / √D) + bias),   output = weights · v

with cap(x) = c · tanh(x / c) if there is a soft cap. A sink is an additional logit in each row,
whose weight is left out: the weights of the row then sum to less than one.

The order of operations gives the same rounding as Flax. The operations are those of `lax`, which
trace several times faster than those of `jax.numpy`.

B batch (any number of dimensions), Q queries, K keys, H heads, G query heads that share a key head,
D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.layers import Array
from linnet.module_core.layout import coins, like

from ._call import Call
from ._dropout import WeightDropout
from .position_bias import everywhere, in_a_row


def scaled(query: Array, scale: float | Array | None = None) -> Array:
    """The query times `scale`, or divided by √D if that is None.

    This is done before the product, because the query is smaller than the logits.
    """
    if scale is not None:
        return query if scale == 1.0 and isinstance(scale, float) else _times(query, scale)
    # The root is computed in jax's default float: rounding a float64 root to bfloat16 may differ.
    wide = jax.dtypes.canonicalize_dtype(float)
    root = np.sqrt(np.asarray(query.shape[-1], wide)).astype(query.dtype)
    return lax.div(query, root)


def _times(query: Array, scale: float | Array) -> Array:
    factor = jnp.asarray(scale)
    if jnp.issubdtype(query.dtype, jnp.inexact):
        factor = factor.astype(query.dtype)
    return query * factor


def attend(call: Call) -> Array:
    """The weighted values: [*B, Q, H, E]."""
    assert call.value is not None
    return call.products.values(weights_of(call), call.value)


def weights_of(call: Call) -> Array:
    """The weights, with dropped ones set to zero: [*B, H, Q, K]."""
    weights = _all_weights(call)
    if call.on_weights is not None:
        call.on_weights(weights)
    if call.dropout is None:
        return weights
    return drop(weights, call.dropout, call.query.dtype)


def _all_weights(call: Call) -> Array:
    """The weights in the dtype of the query, or of a float32 softmax: [*B, H, Q, K]."""
    dtype = call.query.dtype
    logits = call.products.logits(scaled(call.query, call.scale), call.key)
    if call.soft_cap is not None:
        logits = capped(logits, call.soft_cap)
    if call.bias is not None:
        logits = logits + call.bias
    if call.distance_bias is not None:
        logits = logits + whole_bias(call).astype(logits.dtype)
    mask = call.visible.array(call.sizes.queries, call.sizes.keys)
    if mask is not None:
        # The lowest finite number, not -∞: in a fully masked row, all differences are then zero,
        # the weights uniform, and all gradients finite.
        lowest = jnp.finfo(dtype).min  # type: ignore[no-untyped-call]
        shape = jnp.broadcast_shapes(mask.shape, logits.shape)
        logits = jnp.broadcast_to(logits, shape)
        logits = lax.select(
            like(jnp.broadcast_to(mask, shape), logits),
            logits,
            lax.full_like(logits, np.asarray(lowest, dtype).astype(logits.dtype)),
        )
    if call.float32_softmax and dtype != jnp.float32:
        return softmax(lax.convert_element_type(logits, jnp.float32), call.sinks)
    return lax.convert_element_type(softmax(logits, call.sinks), dtype)


def capped(logits: Array, cap: float) -> Array:
    """Logits within ±cap: c · tanh(x / c)."""
    bound = np.asarray(cap, logits.dtype)
    return lax.mul(lax.tanh(lax.div(logits, bound)), bound)


def whole_bias(call: Call) -> Array:
    """A bias that is a function of distances, for all queries and keys: [*B, H or 1, Q, K]."""
    assert call.distance_bias is not None
    visible, sizes = call.visible, call.sizes
    if visible.in_a_row and sizes.queries and sizes.keys:
        return in_a_row(
            call.distance_bias,
            0 - visible.offset,
            sizes.queries,
            sizes.keys,
            sizes.heads,
        )
    queries, keys = visible.positions(sizes.queries, sizes.keys)
    return everywhere(call.distance_bias, queries, keys, sizes.heads)


def softmax(logits: Array, sinks: Array | None = None) -> Array:
    """Softmax over the last dimension, like `jax.nn.softmax`, but traced in a third of the time.

    Args:
      logits: [*B, H, Q, K].
      sinks: [H], an additional logit of each head, whose weight is left out; or None.
    """
    if jnp.issubdtype(logits.dtype, jnp.complexfloating):
        return jax.nn.softmax(logits)
    last = (logits.ndim - 1,)
    if sinks is not None:
        return _with_sinks(logits, sinks)
    highest = lax.expand_dims(lax.stop_gradient(lax.reduce_max(logits, last)), last)
    powers = lax.exp(lax.sub(logits, highest))
    # Half-precision numbers are summed in float32: a sum of 4096 bfloat16 ones would stop growing
    # at 256.
    narrow = logits.dtype in (jnp.bfloat16, jnp.float16)
    terms = lax.convert_element_type(powers, jnp.float32) if narrow else powers
    sums = lax.convert_element_type(lax.reduce_sum(terms, last), powers.dtype)
    # XLA rounds a division by a broadcast number differently from a division by an array.
    return lax.div(powers, lax.expand_dims(sums, last))


def _with_sinks(logits: Array, sinks: Array) -> Array:
    # In float32: a sum of 4096 bfloat16 ones would stop growing at 256.
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    terms = lax.convert_element_type(logits, wide)
    sinks = sinks.astype(wide).reshape(-1, 1, 1)  # [H, 1, 1]
    highest = jnp.maximum(jnp.max(terms, -1, keepdims=True, initial=-jnp.inf), sinks)
    highest = lax.stop_gradient(jnp.where(highest == -jnp.inf, jnp.zeros((), wide), highest))
    powers = jnp.exp(terms - highest)
    sums = jnp.sum(powers, -1, keepdims=True) + jnp.exp(sinks - highest)
    return lax.convert_element_type(powers / sums, logits.dtype)


def drop(weights: Array, dropout: WeightDropout, dtype: np.dtype[Any]) -> Array:
    """Sets weights to zero at random and scales the others to preserve the mean.

    Args:
      weights: [*B, H, Q, K].
      dropout: the dropout to apply.
      dtype: dtype of the factor, which is the query's.
    """
    if dropout.rate == 1.0:
        return jnp.zeros_like(weights)
    shape = weights.shape
    if dropout.broadcast:
        shape = (1,) * (weights.ndim - 2) + shape[-2:]
    keep = coins(dropout.key, dropout.keep, shape, weights)
    factor = lax.convert_element_type(keep, dtype)
    factor = lax.div(factor, np.asarray(dropout.keep, dtype))
    return lax.mul(weights, lax.convert_element_type(factor, weights.dtype))
