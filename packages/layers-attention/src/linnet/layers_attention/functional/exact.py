"""Attention with all logits in memory at once (Vaswani et al. 2017, arXiv:1706.03762).

    weights = softmax(q·kᵀ / √D + bias),   output = weights · v

The order of operations gives the same rounding as Flax. They use `lax`, which traces several times
faster than `jax.numpy`.

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


def scaled(query: Array) -> Array:
    """The query divided by √D; done before the product, because it is smaller than the logits."""
    # The root is computed in jax's default float: rounding a float64 root to bfloat16 may differ.
    wide = jax.dtypes.canonicalize_dtype(float)
    root = np.sqrt(np.asarray(query.shape[-1], wide)).astype(query.dtype)
    return lax.div(query, root)


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
    logits = call.products.logits(scaled(call.query), call.key)
    if call.bias is not None:
        logits = logits + call.bias
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
        return softmax(lax.convert_element_type(logits, jnp.float32))
    return lax.convert_element_type(softmax(logits), dtype)


def softmax(logits: Array) -> Array:
    """Softmax over the last dimension, like `jax.nn.softmax`, but traced in a third of the time."""
    if jnp.issubdtype(logits.dtype, jnp.complexfloating):
        return jax.nn.softmax(logits)
    last = (logits.ndim - 1,)
    highest = lax.expand_dims(lax.stop_gradient(lax.reduce_max(logits, last)), last)
    powers = lax.exp(lax.sub(logits, highest))
    # Half-precision numbers are summed in float32: a sum of 4096 bfloat16 ones would stop growing
    # at 256.
    narrow = logits.dtype in (jnp.bfloat16, jnp.float16)
    terms = lax.convert_element_type(powers, jnp.float32) if narrow else powers
    sums = lax.convert_element_type(lax.reduce_sum(terms, last), powers.dtype)
    # XLA rounds a division by a broadcast number differently from a division by an array.
    return lax.div(powers, lax.expand_dims(sums, last))


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
