"""The activation functions of `jax.nn` that are slow to trace, recorded once for each shape.

Tracing `jax.nn.gelu` takes 300 µs, and `relu` 200 µs: longer than the matrix product before it.
Values and equations are those of JAX; every other activation function comes from JAX unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import jax
from jax import Array
from jax.typing import ArrayLike

from ._staged import recorded_once


@recorded_once
def gelu(x: ArrayLike, approximate: bool = True) -> Array:
    """The Gaussian error linear unit x Φ(x) (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    Φ is the cumulative distribution function of the standard normal distribution. The same as
    `jax.nn.gelu`, traced once for each shape.

    Args:
      x: any shape.
      approximate: approximates Φ with tanh; False computes it with erf.

    >>> import jax.numpy as jnp
    >>> gelu(jnp.array([0.0, 10.0]))
    Array([ 0., 10.], dtype=float32)
    """
    return jax.nn.gelu(x, approximate)


@overload
def logsumexp(
    a: ArrayLike,
    axis: int | Sequence[int] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    where: ArrayLike | None = None,
) -> Array: ...


@overload
def logsumexp(
    a: ArrayLike,
    axis: int | Sequence[int] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    *,
    return_sign: Literal[True],
    where: ArrayLike | None = None,
) -> tuple[Array, Array]: ...


@recorded_once
def logsumexp(
    a: ArrayLike,
    axis: int | Sequence[int] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: ArrayLike | None = None,
) -> Array | tuple[Array, Array]:
    """The logarithm of Σ b exp(a), without overflow.

    The same as `jax.nn.logsumexp`, traced once for each shape.

    Args:
      a: any shape.
      axis: the axes of the sum; None for all.
      b: factors, broadcastable to `a`; None for 1.
      keepdims: keeps the axes of the sum, with size 1.
      return_sign: also returns the sum's sign, and the logarithm of its absolute value.
      where: broadcastable to `a`; False positions are left out.

    >>> import jax.numpy as jnp
    >>> logsumexp(jnp.array([1000.0, 0.0]))
    Array(1000., dtype=float32)
    """
    return jax.nn.logsumexp(a, axis, b, keepdims, return_sign, where)


@recorded_once
def relu(x: ArrayLike) -> Array:
    """The rectified linear unit max(x, 0), whose gradient at 0 is 0.

    The same as `jax.nn.relu`, traced once for each shape.

    Args:
      x: any shape.

    >>> import jax.numpy as jnp
    >>> relu(jnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    return jax.nn.relu(x)


@recorded_once
def relu6(x: ArrayLike) -> Array:
    """The rectified linear unit up to 6: min(max(x, 0), 6).

    The same as `jax.nn.relu6`, traced once for each shape.

    Args:
      x: any shape.

    >>> import jax.numpy as jnp
    >>> relu6(jnp.array([-1.0, 2.0, 7.0]))
    Array([0., 2., 6.], dtype=float32)
    """
    return jax.nn.relu6(x)


@recorded_once
def silu(x: ArrayLike) -> Array:
    """The sigmoid linear unit x σ(x), also called swish.

    The same as `jax.nn.silu`, traced once for each shape. Unlike that function, it can be pickled.

    Args:
      x: any shape.

    >>> import jax.numpy as jnp
    >>> silu(jnp.array([0.0, 20.0]))
    Array([ 0., 20.], dtype=float32)
    """
    return jax.nn.silu(x)


@recorded_once
def softmax(
    x: ArrayLike, axis: int | Sequence[int] | None = -1, where: ArrayLike | None = None
) -> Array:
    """The distribution exp(x) / Σ exp(x), without overflow.

    The same as `jax.nn.softmax`, traced once for each shape.

    Args:
      x: any shape.
      axis: the axes along which the results add up to 1; None for all.
      where: broadcastable to `x`; False positions are left out, and their result is 0.

    >>> import jax.numpy as jnp
    >>> softmax(jnp.array([0.0, 0.0, 1000.0]))
    Array([0., 0., 1.], dtype=float32)
    """
    return jax.nn.softmax(x, axis, where)


__all__ = ["gelu", "logsumexp", "relu", "relu6", "silu", "softmax"]
