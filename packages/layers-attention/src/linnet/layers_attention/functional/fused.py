"""Attention in a single device kernel: `jax.nn.dot_product_attention` with NVIDIA's cuDNN.

The kernel supports only half precision and computes its softmax in float32. Its dropout could not
be reproduced elsewhere, so dropout is not supported; nor are soft caps and sinks. A causal window
is the kernel's own; other windows and segments become a mask, and biases become one array. "auto"
chooses the kernel only for calls that need neither a mask nor a bias, in shapes that the kernel
supports: only then is memory linear in the length.

B batch (any number of dimensions), Q queries, K keys, H heads, D depth of queries and keys, E depth
of values.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from linnet.module_core.errors import ArgumentError, DtypeError
from linnet.module_core.layers import Array
from linnet.module_core.layout import is_on_mesh
from linnet.module_core.replaced import dot_is_replaced, einsum_is_replaced

from ._call import Call
from ._visible import as_bool
from .exact import whole_bias

_OLDEST_GPU = 8.0
"""The compute capability that cuDNN's fused attention needs (Ampere)."""


def suits(call: Call, capability: float) -> bool:
    """Whether a GPU's kernel computes a call without an array of [Q, K].

    Args:
      call: the arguments of the attention.
      capability: the GPU's compute capability; 0 without a GPU.
    """
    visible, sizes = call.visible, call.sizes
    depths = (call.query.shape[-1], 0 if call.value is None else call.value.shape[-1])
    lengths = (sizes.queries, sizes.keys)
    return (
        capability >= _OLDEST_GPU
        and call.query.dtype in (jnp.bfloat16, jnp.float16)
        and all(0 < n <= 128 and n % 8 == 0 for n in depths)
        and all(isinstance(n, int) and n % 2 == 0 for n in lengths)
        and (call.scale is None or isinstance(call.scale, float))
        and all(
            x is None
            for x in (call.dropout, call.soft_cap, call.sinks, call.bias, call.distance_bias)
        )
        and all(x is None for x in (visible.mask, visible.segments, visible.key_segments))
        and (_has_own_causality(call) or not visible.is_local)
        and not is_on_mesh(call.query)
    )


def compute_capability() -> float:
    """The compute capability of the NVIDIA GPU on which jax computes by default, or 0."""
    if jax.default_backend() not in ("gpu", "cuda"):
        return 0.0
    try:
        return float(getattr(jax.devices()[0], "compute_capability", 0.0))
    except ValueError:  # a GPU of a different kind, such as "gfx90a"
        return 0.0


def _has_own_causality(call: Call) -> bool:
    """Whether the kernel's own causal mask, which starts at the first key, suits the call."""
    return call.visible.right == 1 and call.visible.known_offset == 0


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
      ArgumentError: dropout, a soft cap or sinks are requested.
    """
    assert call.value is not None
    if call.dropout is not None:
        raise ArgumentError(
            "implementation='cudnn' does not support dropout.",
            hint="Set dropout_rate=0 or deterministic=True, or use implementation='auto'.",
        )
    if call.soft_cap is not None or call.sinks is not None:
        raise ArgumentError(
            "implementation='cudnn' supports neither soft_cap nor sinks.",
            hint="Leave them at None, or use implementation='auto'.",
        )
    sizes, visible = call.sizes, call.visible
    extras = [x for x in (call.bias, visible.mask) if x is not None]
    batch = jnp.broadcast_shapes(sizes.batch, *(x.shape[:-3] for x in extras))
    entries = math.prod(batch)
    own_causality = _has_own_causality(call)
    window = None  # the kernel supports one only with causality
    if own_causality:
        if visible.left is not None:
            window = (visible.left - 1, 0)
        visible = visible._replace(left=None, right=None)
    mask = visible.array(sizes.queries, sizes.keys)
    bias = call.bias
    if call.distance_bias is not None:
        more = whole_bias(call)
        bias = more if bias is None else bias + more
        bias = bias.astype(call.query.dtype)

    def one_batch(x: Array, last: int) -> Array:
        """[B, ...] with one batch dimension before the `last` others."""
        return jnp.broadcast_to(x, (*batch, *x.shape[-last:])).reshape(entries, *x.shape[-last:])

    def spread(x: Array | None) -> Array | None:
        if x is None:
            return None
        x = x.reshape((1,) * (3 - x.ndim) + x.shape)
        return one_batch(x, 3)  # [B, H, Q, K]

    # The layers of a deep model share one trace of this function: tracing it for each layer would
    # take up half the time of tracing a transformer.
    traced = any(isinstance(x, jax.core.Tracer) for x in (call.query, call.key, call.value))
    replay = traced and not (dot_is_replaced() or einsum_is_replaced())
    attention = _recorded if replay else jax.nn.dot_product_attention
    more_options: dict[str, Any] = {}
    if call.scale is not None:
        if not isinstance(call.scale, float):
            raise ArgumentError(
                f"implementation={kernel!r} needs a scale that is known before the program runs.",
                hint="Pass a Python number, or use implementation='auto'.",
            )
        more_options["scale"] = call.scale
    if window is not None:
        more_options["local_window_size"] = window
    output: Array = attention(
        one_batch(call.query, 3),
        one_batch(call.key, 3),
        one_batch(call.value, 3),
        bias=spread(bias),
        mask=spread(None if mask is None else as_bool(mask)),
        is_causal=own_causality,
        implementation=kernel,
        **more_options,
    )
    output = output.reshape(*batch, *output.shape[1:])
    return output.astype(jnp.float32) if call.float32_softmax else output


_recorded = jax.jit(
    jax.nn.dot_product_attention,
    static_argnames=("is_causal", "implementation", "scale", "local_window_size"),
    inline=True,
)
