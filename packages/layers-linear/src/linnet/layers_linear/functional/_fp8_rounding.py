"""Rounding to 8-bit floating point, with scales that follow the history of magnitudes.

    q = saturate(x / s)        x ≈ q · s        s = max(history of max|x|) / largest 8-bit number

The formats and the saturating conversion are those of Micikevicius et al. 2022 (arXiv:2209.05433):
e4m3 for inputs and kernels, e5m2 for gradients, whose range is wider. The scale of a step comes
from the magnitudes of earlier steps ("delayed scaling", NVIDIA Transformer Engine), so that
quantizing needs no separate pass over `x`.

Scales and histories are state that the backward pass updates: the functions here return the new
scale and the new history as the "gradients" of the old ones (see `linnet.training.TrainState`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from linnet.module_core.errors import DtypeError
from linnet.module_core.layers import Array, DTypeLike

_Saved: TypeAlias = tuple[Array, Array]


def get_fp8_max(fp8_dtype: DTypeLike, out_dtype: DTypeLike) -> Array:
    """The largest finite number of an 8-bit floating-point format, in `out_dtype`.

    Raises:
      DtypeError: `fp8_dtype` is not such a format.

    >>> import jax.numpy as jnp
    >>> float(get_fp8_max(jnp.float8_e4m3fn, jnp.float32))
    448.0
    """
    dtype = jnp.dtype(fp8_dtype)
    if not (dtype.itemsize == 1 and jnp.issubdtype(dtype, jnp.floating)):
        raise DtypeError(
            f"Expected an 8-bit floating-point dtype, got {dtype}.",
            hint="Inputs and kernels take jnp.float8_e4m3fn, gradients jnp.float8_e5m2 (on AMD"
            " GPUs of the MI300 series: jnp.float8_e4m3fnuz and jnp.float8_e5m2fnuz).",
        )
    return jnp.asarray(_limits(dtype).max, out_dtype)


def _limits(dtype: DTypeLike) -> Any:
    return jnp.finfo(dtype)  # type: ignore[no-untyped-call]


def quantize(x: Array, q_dtype: DTypeLike, scale: Array, compute_dtype: DTypeLike) -> Array:
    """`x / scale`, limited to the range of `q_dtype` and rounded to it.

    Args:
      x: any shape.
      q_dtype: an 8-bit floating-point dtype.
      scale: a number; shape () or [1].
      compute_dtype: dtype of the division, unless that of `x` is wider.

    Returns:
      An array of the shape of `x`, in `q_dtype`. NaN stays NaN.

    Raises:
      DtypeError: `q_dtype` is not an 8-bit floating-point dtype.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.0, 1.3, -1000.0])
    >>> quantize(x, jnp.float8_e4m3fn, jnp.ones(1), jnp.float32).astype(jnp.float32)
    Array([   1.  ,    1.25, -448.  ], dtype=float32)
    """
    dtype = jnp.promote_types(x.dtype, compute_dtype)
    scaled = x.astype(dtype) / _number(scale, compute_dtype).astype(dtype)
    largest = get_fp8_max(q_dtype, dtype)
    limited = jnp.clip(scaled, -largest, largest)
    if jnp.dtype(q_dtype).name.endswith("fnuz"):
        # In these formats, the bits of -0 mean NaN, and XLA for CPUs writes them (jax 0.10.2).
        half = _limits(q_dtype).smallest_subnormal.astype(dtype) / 2
        limited = jnp.where(jnp.abs(limited) <= half, jnp.zeros_like(limited), limited)
    return limited.astype(q_dtype)


def dequantize(x: Array, dq_dtype: DTypeLike, scale: Array) -> Array:
    """`x · scale` in `dq_dtype`: the inverse of `quantize`, up to rounding.

    >>> import jax.numpy as jnp
    >>> float(dequantize(jnp.float8_e4m3fn(1.25), jnp.float32, jnp.float32(2)))
    2.5
    """
    return x.astype(dq_dtype) * _number(scale, dq_dtype)


def _number(scale: Array, dtype: DTypeLike) -> Array:
    return jnp.reshape(scale, ()).astype(dtype)  # A result without dimensions keeps its shape.


def qdq(x: Array, q_dtype: DTypeLike, scale: Array, compute_dtype: DTypeLike) -> Array:
    """`x` as 8 bits represent it: quantized with `scale`, and back again.

    Returns:
      An array like `x`, in its dtype.

    Raises:
      DtypeError: `q_dtype` is not an 8-bit floating-point dtype.

    >>> import jax.numpy as jnp
    >>> qdq(jnp.array([1.0, 1.3]), jnp.float8_e4m3fn, jnp.ones(1), jnp.float32)
    Array([1.  , 1.25], dtype=float32)
    """
    return dequantize(quantize(x, q_dtype, scale, compute_dtype), x.dtype, scale)


def compute_scale(amax: Array, scale: Array, fp8_max: Array | float, margin: int = 0) -> Array:
    """The scale under which `amax` becomes `fp8_max / 2^margin`.

    Args:
      amax: the largest magnitude that is expected.
      scale: the scale that is kept if `amax` is not a positive finite number.
      fp8_max: the largest number of the 8-bit format.
      margin: how many powers of two to leave free.

    Returns:
      A number with the shape of `scale`.

    >>> import jax.numpy as jnp
    >>> compute_scale(jnp.float32(896), jnp.ones(1), 448.0)
    Array([2.], dtype=float32)
    """
    # By way of the reciprocal, in the vendors' order: the product fp8_max · scale may overflow.
    inverse = (fp8_max / amax) / (2.0**margin)
    usable = jnp.isfinite(amax) & (amax > 0.0)
    return 1.0 / jnp.where(usable, inverse, 1.0 / scale)


def compute_amax_history(x: Array, amax_history: Array) -> Array:
    """The history of magnitudes with that of `x` at its front, in place of the oldest.

    Args:
      x: any shape.
      amax_history: [n]; the latest is first, the oldest second, and the others follow.

    Returns:
      [n].

    >>> import jax.numpy as jnp
    >>> compute_amax_history(jnp.array([-3.0, 2.0]), jnp.array([1.0, 4.0, 5.0]))
    Array([3., 5., 1.], dtype=float32)
    """
    latest = jnp.max(jnp.abs(x), initial=0).astype(amax_history.dtype)
    return jnp.concatenate([latest[None], jnp.roll(amax_history, -1, 0)[1:]])


def update_fp8_meta(
    x: Array, q_dtype: DTypeLike, scale: Array, amax_history: Array
) -> tuple[Array, Array]:
    """The scale to use for `x`, and the history with `x` in it.

    Args:
      x: any shape.
      q_dtype: an 8-bit floating-point dtype.
      scale: [1], the previous scale.
      amax_history: [n], the magnitudes before `x`.

    Returns:
      [1] and [n].

    Raises:
      DtypeError: `q_dtype` is not an 8-bit floating-point dtype.

    >>> import jax.numpy as jnp
    >>> scale, history = update_fp8_meta(
    ...     jnp.ones(2), jnp.float8_e4m3fn, jnp.ones(1), jnp.array([448.0, 0.0])
    ... )
    >>> scale, history
    (Array([1.], dtype=float32), Array([  1., 448.], dtype=float32))
    """
    largest = get_fp8_max(q_dtype, jnp.float32)
    new_scale = compute_scale(jnp.max(amax_history, axis=0), scale, largest)
    return new_scale, compute_amax_history(x, amax_history)


def quantize_dequantize_update(
    x: Array, q_dtype: DTypeLike, scale: Array, amax_history: Array, compute_dtype: DTypeLike
) -> tuple[Array, Array, Array]:
    """`qdq` of `x` with the scale of `update_fp8_meta`.

    Returns:
      `x` as 8 bits represent it, the new scale, and the new history.

    Raises:
      DtypeError: `q_dtype` is not an 8-bit floating-point dtype.

    >>> import jax.numpy as jnp
    >>> history = jnp.array([448.0, 0.0])
    >>> x, scale, history = quantize_dequantize_update(
    ...     jnp.array([1.3]), jnp.float8_e4m3fn, jnp.ones(1), history, jnp.float32
    ... )
    >>> x
    Array([1.25], dtype=float32)
    """
    new_scale, new_history = update_fp8_meta(x, q_dtype, scale, amax_history)
    return qdq(x, q_dtype, new_scale, compute_dtype), new_scale, new_history


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_qdq(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, scale: Array, amax_history: Array
) -> Array:
    """`inp` as 8 bits represent it; gradients pass through.

    Args:
      compute_dtype: dtype of the division by the scale.
      q_dtype: an 8-bit floating-point dtype.
      inp: any shape.
      scale: [1]; its gradient is the new scale.
      amax_history: [n]; its gradient is the new history.

    Returns:
      An array like `inp`.

    >>> import jax, jax.numpy as jnp
    >>> in_qdq(jnp.float32, jnp.float8_e4m3fn, jnp.array([1.3]), jnp.ones(1), jnp.zeros(2))
    Array([1.25], dtype=float32)
    """
    return _in_qdq_fwd(compute_dtype, q_dtype, inp, scale, amax_history)[0]


def _in_qdq_fwd(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, scale: Array, amax_history: Array
) -> tuple[Array, _Saved]:
    rounded, *new = quantize_dequantize_update(inp, q_dtype, scale, amax_history, compute_dtype)
    return rounded, (new[0], new[1])


def _in_qdq_bwd(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, saved: _Saved, g: Array
) -> tuple[Array, Array, Array]:
    return g, *saved


in_qdq.defvjp(_in_qdq_fwd, _in_qdq_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def out_qdq(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, out: Array, scale: Array, amax_history: Array
) -> Array:
    """`out` itself, whose gradient is rounded to 8 bits.

    Args:
      compute_dtype: dtype of the division by the scale.
      q_dtype: an 8-bit floating-point dtype.
      out: any shape.
      scale: [1], the gradient's scale; its own gradient is the new scale.
      amax_history: [n], the gradient's history; its own gradient is the new history.

    >>> import jax, jax.numpy as jnp
    >>> def f(x):
    ...     return 1.3 * out_qdq(jnp.float32, jnp.float8_e4m3fn, x, jnp.ones(1), jnp.zeros(2))
    >>> float(jax.grad(f)(1.0))
    1.25
    """
    return out


def _out_qdq_fwd(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, out: Array, scale: Array, amax_history: Array
) -> tuple[Array, _Saved]:
    return out, (scale, amax_history)


def _out_qdq_bwd(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, saved: _Saved, g: Array
) -> tuple[Array, Array, Array]:
    return quantize_dequantize_update(g, q_dtype, *saved, compute_dtype)


out_qdq.defvjp(_out_qdq_fwd, _out_qdq_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_q(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, scale: Array, amax_history: Array
) -> tuple[Array, Array]:
    """`inp` in 8 bits, and the scale it was divided by.

    The gradient with respect to `inp` is zero: `quantized_dot` takes `inp` itself as well as its
    8-bit form, and returns the gradient for the argument `inp`.

    Args:
      compute_dtype: dtype of the division by the scale.
      q_dtype: an 8-bit floating-point dtype.
      inp: any shape.
      scale: [1]; its gradient is the new scale.
      amax_history: [n]; its gradient is the new history.

    Returns:
      An array of the shape of `inp` in `q_dtype`, and [1].

    >>> import jax.numpy as jnp
    >>> q, scale = in_q(
    ...     jnp.float32, jnp.float8_e4m3fn, jnp.array([2.6]), jnp.ones(1), jnp.array([896.0])
    ... )
    >>> q.astype(jnp.float32), scale
    (Array([1.25], dtype=float32), Array([2.], dtype=float32))
    """
    return _in_q_fwd(compute_dtype, q_dtype, inp, scale, amax_history)[0]


def _in_q_fwd(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, scale: Array, amax_history: Array
) -> tuple[tuple[Array, Array], _Saved]:
    new_scale, new_history = update_fp8_meta(inp, q_dtype, scale, amax_history)
    q = quantize(inp, q_dtype, new_scale, compute_dtype)
    return (q, new_scale), (new_scale, new_history)


def _in_q_bwd(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, saved: _Saved, g: Any
) -> tuple[None, Array, Array]:
    return None, *saved  # zero for `inp`, however it is split


in_q.defvjp(_in_q_fwd, _in_q_bwd)
