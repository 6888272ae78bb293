"""Dropout (Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html), in its inverted form.

    y = x / (1 - rate) with probability 1 - rate, else 0

Scaling during training preserves the mean, so evaluation needs no correction.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import InvalidRngError
from linnet.module_core.layers import Array, Shape, as_array, axes_in_range, check_rate, inexact
from linnet.module_core.layout import coins, layout_of

from ._staged import is_staged


def dropout(
    x: Array, key: Array | None, rate: float, *, broadcast_dims: Sequence[int] = ()
) -> Array:
    """Sets each value to zero with probability `rate` and scales the others by 1 / (1 - rate).

    Args:
      x: any shape, floating or complex.
      key: a random key; may be None if `rate` is 0 or 1.
      rate: the probability of being dropped, within [0, 1].
      broadcast_dims: dimensions along which all values share one random decision.

    Returns:
      An array like `x`.

    Raises:
      ArgumentError: `rate` is outside [0, 1], or a dimension doesn't exist.
      DtypeError: `x` has an integer dtype.
      InvalidRngError: a key is needed and `key` isn't one.

    >>> import jax, jax.numpy as jnp
    >>> y = dropout(jnp.ones(100), jax.random.key(0), 0.5)
    >>> sorted({float(v) for v in y})
    [0.0, 2.0]
    """
    rate = check_rate(rate)
    if rate == 0.0:
        return x
    if not isinstance(x, jax.Array):
        x = as_array(x)
    if rate == 1.0:
        return jnp.zeros_like(x)
    inexact(x, "inputs", "be scaled")
    if key is None or not hasattr(key, "dtype"):
        raise InvalidRngError(
            f"Dropping values with rate={rate} needs a random key, got {key!r}.",
            hint="Pass one, e.g. `jax.random.key(0)`, and a new one at each step.",
        )
    keep = 1.0 - rate
    shape = list(x.shape)
    for dim in axes_in_range(broadcast_dims, x.ndim, "broadcast_dims"):
        shape[dim] = 1
    if is_staged(x):
        y: Array = _drop_staged(x, key, keep, tuple(shape))
        return y
    return _drop(x, key, keep, tuple(shape))


def _drop(x: Array, key: Array, keep: float, mask_shape: Shape) -> Array:
    mask = coins(key, keep, mask_shape, x)
    layout = layout_of(x)
    if mask_shape != x.shape:
        mask = lax.broadcast_in_dim(mask, x.shape, tuple(range(x.ndim)), out_sharding=layout)
    # Tracing `jnp.zeros_like` would take as long as everything else here.
    zeros = lax.broadcast_in_dim(np.zeros((), x.dtype), x.shape, (), out_sharding=layout)
    return lax.select(mask, lax.div(x, np.asarray(keep, x.dtype)), zeros)


_drop_staged = jax.jit(_drop, inline=True, static_argnums=(2, 3))
