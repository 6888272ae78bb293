"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).

    y = x · A · B

An update of a linear map with few parameters: D features in, F features out, rank R far below both.
"""

from __future__ import annotations

from linnet.module_core.dtypes import promote_dtype as default_promote_dtype
from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import Array, DTypeLike, PromoteDtype, vector_features

from .dense import dense


def lora(
    x: Array,
    a: Array,
    b: Array,
    *,
    dtype: DTypeLike | None = None,
    promote_dtype: PromoteDtype = default_promote_dtype,
) -> Array:
    """Multiplies the last dimension of `x` by `a`, then by `b`.

    Args:
      x: [..., D].
      a: [D, R].
      b: [R, F].
      dtype: the computation dtype; None for the common type of the arguments.
      promote_dtype: replaces `linnet.module_core.dtypes.promote_dtype`.

    Returns:
      [..., F].

    Raises:
      ShapeError: `a` doesn't fit the last dimension of `x`, or `b` doesn't fit `a`.

    >>> import jax.numpy as jnp
    >>> lora(jnp.ones((2, 3)), jnp.ones((3, 1)), jnp.ones((1, 4)))[0]
    Array([3., 3., 3., 3.], dtype=float32)
    """
    x, a, b = promote_dtype(x, a, b, dtype=dtype)
    features = vector_features(x.shape)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != features or a.shape[1] != b.shape[0]:
        raise ShapeError(
            f"lora_a has shape {a.shape} and lora_b {b.shape}, expected ({features}, rank) and "
            f"(rank, features) for inputs of shape {x.shape}.",
            hint="The first dimension of lora_a must equal the inputs' last.",
        )
    down = dense(x, a)  # [..., R]
    return dense(down, b)  # [..., F]
