"""The activation functions of `jax.nn` that are slow to trace, recorded once for each shape.

Tracing `jax.nn.gelu` takes 300 µs, and `relu` 200 µs: longer than the matrix product before it.
Values and equations are those of JAX; every other activation function comes from JAX unchanged.
"""

from __future__ import annotations

import jax

from ._staged import recorded_once

gelu = recorded_once(jax.nn.gelu, __name__)
"""`jax.nn.gelu`, traced once for each shape."""

logsumexp = recorded_once(jax.nn.logsumexp, __name__)
"""`jax.nn.logsumexp`, traced once for each shape."""

relu = recorded_once(jax.nn.relu, __name__)
"""`jax.nn.relu`, traced once for each shape."""

relu6 = recorded_once(jax.nn.relu6, __name__)
"""`jax.nn.relu6`, traced once for each shape."""

silu = recorded_once(jax.nn.silu, __name__)
"""`jax.nn.silu`, traced once for each shape. Unlike that function, it can be pickled."""

softmax = recorded_once(jax.nn.softmax, __name__)
"""`jax.nn.softmax`, traced once for each shape."""


__all__ = ["gelu", "logsumexp", "relu", "relu6", "silu", "softmax"]
