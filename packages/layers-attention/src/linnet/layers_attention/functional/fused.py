"""Attention in a single device kernel: `jax.nn.dot_product_attention` with NVIDIA's cuDNN.

The kernel supports only half precision and computes its softmax in float32. Its dropout could not
be reproduced elsewhere, so dropout is not supported.

B batch (any number of dimensions), Q queries, K keys, H heads, D depth of queries and keys, E depth
of values.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from linnet.module_core.errors import ArgumentError, DtypeError
from linnet.module_core.layers import Array
from linnet.module_core.replaced import dot_is_replaced, einsum_is_replaced

from ._call import Call
from .masks import as_bool


def attend(call: Call) -> Array:
    """The weighted values: [*B, Q, H, E].

    Raises:
      ArgumentError: no NVIDIA GPU is available, or dropout is requested.
      DtypeError: the dtype isn't a half-precision one.
    """
    if jax.default_backend() not in ("gpu", "cuda"):
        raise ArgumentError(
            "implementation='cudnn' needs an NVIDIA GPU, but the device is "
            f"{jax.default_backend()!r}.",
            hint="implementation='auto' runs everywhere.",
        )
    if call.query.dtype not in (jnp.bfloat16, jnp.float16):
        raise DtypeError(
            "implementation='cudnn' computes in bfloat16 or float16 only, got dtype "
            f"{call.query.dtype}.",
            hint="Pass dtype=jax.numpy.bfloat16; the parameters keep their dtype.",
        )
    return attend_in_one(call, "cudnn")


def attend_in_one(call: Call, kernel: Literal["cudnn", "xla"]) -> Array:
    """The weighted values from `jax.nn.dot_product_attention`: [*B, Q, H, E].

    Raises:
      ArgumentError: dropout is requested.
    """
    assert call.value is not None
    if call.dropout is not None:
        raise ArgumentError(
            "implementation='cudnn' does not support dropout.",
            hint="Set dropout_rate=0 or deterministic=True, or use implementation='auto'.",
        )
    sizes, visible = call.sizes, call.visible
    extras = [x for x in (call.bias, visible.mask) if x is not None]
    batch = jnp.broadcast_shapes(sizes.batch, *(x.shape[:-3] for x in extras))
    entries = math.prod(batch)
    # The kernel's causal mask starts at the first key.
    own_causality = visible.is_causal and isinstance(visible.offset, int) and visible.offset == 0
    if own_causality:
        visible = visible._replace(is_causal=False)
    mask = visible.array(sizes.queries, sizes.keys)

    def one_batch(x: Array, last: int) -> Array:
        """[B, ...] with one batch dimension before the `last` others."""
        return jnp.broadcast_to(x, (*batch, *x.shape[-last:])).reshape(entries, *x.shape[-last:])

    def spread(x: Array | None) -> Array | None:
        if x is None:
            return None
        x = x.reshape((1,) * (3 - x.ndim) + x.shape)
        return one_batch(x, 3)  # [B, H, Q, K]

    # The layers of a deep model share one trace of this function: tracing it for each layer would
    # take half of the time of tracing a transformer.
    traced = any(isinstance(x, jax.core.Tracer) for x in (call.query, call.key, call.value))
    replay = traced and not (dot_is_replaced() or einsum_is_replaced())
    attention = _recorded if replay else jax.nn.dot_product_attention
    output = attention(
        one_batch(call.query, 3),
        one_batch(call.key, 3),
        one_batch(call.value, 3),
        bias=spread(call.bias),
        mask=spread(None if mask is None else as_bool(mask)),
        is_causal=own_causality,
        implementation=kernel,
    )
    output = output.reshape(*batch, *output.shape[1:])
    return output.astype(jnp.float32) if call.float32_softmax else output


_recorded = jax.jit(
    jax.nn.dot_product_attention, static_argnames=("is_causal", "implementation"), inline=True
)
