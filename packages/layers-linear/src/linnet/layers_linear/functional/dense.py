"""The affine map of the last dimension.

    y = x · kernel + bias

D features in, F features out. Written with `lax`, which traces in a third of `jax.numpy`'s time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax import lax

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import (
    Array,
    DotGeneral,
    DTypeLike,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    same_shape,
    vector_features,
)
from linnet.module_core.layout import dot_layout
from linnet.module_core.replaced import dot_is_replaced

from ._bias import add_bias
from ._options import checked_sharding, given
from ._staged import is_staged


def dense(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    dot_general: DotGeneral | None = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Multiplies the last dimension of `x` by `kernel` and adds `bias`.

    Args:
      x: [..., D].
      kernel: [D, F].
      bias: [F], or None.
      dtype: the computation dtype; None for the common type of the arguments.
      precision: see `jax.lax.Precision`.
      dot_general: replaces `jax.lax.dot_general`.
      preferred_element_type: dtype of the accumulation and of the result.
      out_sharding: the result's sharding, on a mesh with explicit axes.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [..., F].

    Raises:
      ShapeError: `kernel` doesn't fit the last dimension of `x`, or `bias` the kernel.

    >>> import jax.numpy as jnp
    >>> dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(4))[0]
    Array([4., 4., 4., 4.], dtype=float32)
    """
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    in_features = vector_features(x.shape)
    if kernel.ndim != 2 or kernel.shape[0] != in_features:
        raise ShapeError(
            f"kernel has shape {kernel.shape}, expected ({in_features}, features) for inputs of "
            f"shape {x.shape}.",
            hint="The kernel's first dimension must equal the inputs' last.",
        )
    if bias is not None:
        columns = kernel.shape[1:]
        same_shape(bias, columns, "bias", hint="There is one bias for each column of the kernel.")
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    if dot_general is None and checked_sharding(out_sharding) is None:
        out_sharding = dot_layout(x, kernel, contract)
    options = given(preferred_element_type=preferred_element_type, out_sharding=out_sharding)
    if dot_general is None and not options and is_staged(x) and not dot_is_replaced():
        y: Array = _affine_staged(x, kernel, bias, precision)
        return y
    return _affine(x, kernel, bias, precision, dot_general or lax.dot_general, options)


def _affine(
    x: Array,
    kernel: Array,
    bias: Array | None,
    precision: PrecisionLike,
    dot_general: DotGeneral = lax.dot_general,
    options: Mapping[str, Any] = {},
) -> Array:
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    y = dot_general(x, kernel, contract, precision=precision, **options)  # [..., F]
    return y if bias is None else add_bias(y, bias)


_affine_staged = jax.jit(_affine, inline=True, static_argnums=3)
