"""Products of arrays in 8-bit floating point (Micikevicius et al. 2022, arXiv:2209.05433).

    y = (q_x · q_w) s_x s_w            q_x, q_w: `x` and `w` in e4m3, with the scales s_x, s_w
    ∂x = (q_g · q_wᵀ) s_g s_w          q_g: the gradient of `y` in e5m2, with the scale s_g
    ∂w = (q_xᵀ · q_g) s_x s_g

There are two ways to compute them. `fp8_scaled_dot_general` multiplies the 8-bit numbers
themselves, in the forward and backward passes; `fp8_rounded_dot_general` multiplies the values that
they represent, in the arrays' own dtype, and leaves it to XLA to recognize the pattern.

Backward passes are more sensitive to rounding, so they run at the highest precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypedDict

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.accepted import accepted
from linnet.module_core.layers import Array, DTypeLike, OutSharding, PrecisionLike
from linnet.module_core.layout import dot_layout, entries_of, layout_of, split

from ._fp8_rounding import dequantize, in_q, in_qdq, out_qdq, quantize, update_fp8_meta
from ._options import given

DotDimensions: TypeAlias = tuple[
    tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]
]
"""Contracted dimensions of both operands, and batch dimensions of both."""

_Operands: TypeAlias = tuple[Array, Array]


class Fp8Scales(TypedDict):
    """The state that a product keeps between steps: scales [1], and histories of magnitudes [n]."""

    lhs_scale: Array
    rhs_scale: Array
    grad_scale: Array
    lhs_amax_history: Array
    rhs_amax_history: Array
    grad_amax_history: Array


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4, 5))
def dot_general_with_precision(
    lhs: Array,
    rhs: Array,
    dimension_numbers: DotDimensions,
    precision: PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: OutSharding | None = None,
) -> Array:
    """`lax.dot_general` at the default precision, with derivatives at the highest.

    Args:
      lhs, rhs: the operands.
      dimension_numbers: see `jax.lax.dot_general`.
      precision: accepted because layers pass it; not used.
      preferred_element_type: accepted likewise; not used.
      out_sharding: the result's sharding, on a mesh with explicit axes; None if it follows from the
        operands'.

    >>> import jax.numpy as jnp
    >>> dot_general_with_precision(jnp.ones((2, 3)), jnp.ones((3, 1)), (((1,), (0,)), ((), ())))
    Array([[3.],
           [3.]], dtype=float32)
    """
    accepted(precision=precision, preferred_element_type=preferred_element_type)
    default = lax.Precision.DEFAULT
    options = given(out_sharding=out_sharding)
    return lax.dot_general(lhs, rhs, dimension_numbers, precision=default, **options)


@dot_general_with_precision.defjvp
def _dot_general_jvp(
    dimension_numbers: DotDimensions,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    out_sharding: OutSharding | None,
    primals: _Operands,
    tangents: _Operands,
) -> tuple[Array, Array]:
    (lhs, rhs), (lhs_tangent, rhs_tangent) = primals, tangents
    product: Callable[..., Array] = partial(
        lax.dot_general, dimension_numbers=dimension_numbers, **given(out_sharding=out_sharding)
    )
    highest = partial(product, precision=lax.Precision.HIGHEST)
    out = product(lhs, rhs, precision=lax.Precision.DEFAULT)
    return out, highest(lhs, rhs_tangent) + highest(lhs_tangent, rhs)


def dot_general_transpose_lhs(
    g: Array,
    x: Array,
    y: Array,
    *,
    dimension_numbers: DotDimensions,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    swap_ans: bool = False,
) -> Array:
    """The gradient of `lax.dot_general(x, y)` with respect to `x`, given that of the result.

    The operands' dtypes may differ from those in the product itself: 8-bit numbers, for example.

    Args:
      g: the gradient of the result: [*batch, *free dimensions of x, *of y].
      x: the first operand; only its dimensions and their sharding are used.
      y: the second operand.
      dimension_numbers: those of the product.
      precision: see `jax.lax.Precision`.
      preferred_element_type: dtype of the accumulation and of the result.
      swap_ans: `g` has the free dimensions of `y` before those of `x`.

    Returns:
      An array of the shape of `x`.

    >>> import jax.numpy as jnp
    >>> dot_general_transpose_lhs(
    ...     jnp.ones((2, 1)), jnp.zeros((2, 3)), jnp.arange(3.0)[:, None],
    ...     dimension_numbers=(((1,), (0,)), ((), ())), precision=None, preferred_element_type=None
    ... )
    Array([[0., 1., 2.],
           [0., 1., 2.]], dtype=float32)
    """
    (x_contracted, y_contracted), (x_batch, y_batch) = dimension_numbers
    x_free = [i for i in range(x.ndim) if i not in (*x_contracted, *x_batch)]
    y_free = [i for i in range(y.ndim) if i not in (*y_contracted, *y_batch)]
    batch, end = len(x_batch), g.ndim
    order = sorted(range(len(y_contracted)), key=lambda i: y_contracted[i])
    positions = [*x_batch, *x_free, *(x_contracted[i] for i in order)]  # of the product, in x
    layout = layout_of(x)
    if layout is not None:  # On a mesh with explicit axes, a gradient has its variable's layout.
        entries = entries_of(layout, x.ndim)
        layout = split(layout, (entries[i] for i in positions))
    g_of_y = range(batch, batch + len(y_free)) if swap_ans else range(end - len(y_free), end)
    product = lax.dot_general(
        g,
        y,
        ((tuple(g_of_y), tuple(y_free)), (tuple(range(batch)), tuple(y_batch))),
        precision=precision,
        preferred_element_type=preferred_element_type,
        **given(out_sharding=layout),
    )  # [*batch, *free of x, *contracted, as they follow one another in y]
    return jnp.transpose(product, sorted(range(x.ndim), key=lambda i: positions[i]))


def dot_general_transpose_rhs(
    g: Array,
    x: Array,
    y: Array,
    *,
    dimension_numbers: DotDimensions,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
) -> Array:
    """The gradient of `lax.dot_general(x, y)` with respect to `y`, given that of the result.

    Args:
      g: the gradient of the result: [*batch, *free dimensions of x, *of y].
      x: the first operand.
      y: the second operand; only its dimensions and their sharding are used.
      dimension_numbers: those of the product.
      precision: see `jax.lax.Precision`.
      preferred_element_type: dtype of the accumulation and of the result.

    Returns:
      An array of the shape of `y`.

    >>> import jax.numpy as jnp
    >>> dot_general_transpose_rhs(
    ...     jnp.ones((2, 1)), jnp.ones((2, 3)), jnp.zeros((3, 1)),
    ...     dimension_numbers=(((1,), (0,)), ((), ())), precision=None, preferred_element_type=None
    ... ).shape
    (3, 1)
    """
    (x_contracted, y_contracted), (x_batch, y_batch) = dimension_numbers
    return dot_general_transpose_lhs(
        g,
        y,
        x,
        dimension_numbers=((y_contracted, x_contracted), (y_batch, x_batch)),
        precision=precision,
        preferred_element_type=preferred_element_type,
        swap_ans=True,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def out_dq(dq_type: DTypeLike, lhs_scale: Array, rhs_scale: Array, out: Array) -> Array:
    """A product of 8-bit numbers, times the scales of both; gradients pass through.

    Args:
      dq_type: dtype of the result.
      lhs_scale, rhs_scale: [1].
      out: the product.

    >>> import jax.numpy as jnp
    >>> float(out_dq(jnp.float32, jnp.array(2.0), jnp.array(0.5), jnp.array(3.0)))
    3.0
    """
    return dequantize(out, dq_type, lhs_scale * rhs_scale)


def _out_dq_fwd(
    dq_type: DTypeLike, lhs_scale: Array, rhs_scale: Array, out: Array
) -> tuple[Array, _Operands]:
    return out_dq(dq_type, lhs_scale, rhs_scale, out), (lhs_scale, rhs_scale)


def _out_dq_bwd(dq_type: DTypeLike, scales: _Operands, g: Array) -> tuple[Array, Array, Array]:
    # `quantized_dot` multiplies by the scales itself, and `in_q` returns the scales' gradients.
    return jnp.zeros_like(scales[0]), jnp.zeros_like(scales[1]), g


out_dq.defvjp(_out_dq_fwd, _out_dq_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(8, 9, 10, 11))
def quantized_dot(
    lhs: Array,
    q_lhs: Array,
    lhs_scale: Array,
    rhs: Array,
    q_rhs: Array,
    rhs_scale: Array,
    out_grad_scale: Array,
    out_grad_amax_history: Array,
    dimension_numbers: DotDimensions,
    preferred_element_type: DTypeLike | None = None,
    grad_dtype: DTypeLike = jnp.float8_e5m2,
    out_sharding: OutSharding | None = None,
) -> Array:
    """The product of 8-bit operands, before the scales; its gradients are those of the originals.

    Args:
      lhs, rhs: the operands before they were quantized.
      q_lhs, q_rhs: their 8-bit forms.
      lhs_scale, rhs_scale: [1], their scales.
      out_grad_scale: [1], the scale of the result's gradient; its gradient is the new scale.
      out_grad_amax_history: [n], the history of that gradient's magnitudes; likewise.
      dimension_numbers: see `jax.lax.dot_general`.
      preferred_element_type: dtype of the accumulation and of the result.
      grad_dtype: the 8-bit format of the result's gradient.
      out_sharding: the result's sharding, on a mesh with explicit axes; None if it follows from the
        operands'.

    >>> import jax.numpy as jnp
    >>> x, s = jnp.ones((2, 2)), jnp.ones(1)
    >>> q = x.astype(jnp.float8_e4m3fn)
    >>> contract = (((1,), (0,)), ((), ()))
    >>> quantized_dot(x, q, s, x, q, s, s, jnp.zeros(4), contract, jnp.float32)
    Array([[2., 2.],
           [2., 2.]], dtype=float32)
    """
    return lax.dot_general(
        q_lhs,
        q_rhs,
        dimension_numbers,
        precision=lax.Precision.DEFAULT,
        preferred_element_type=preferred_element_type,
        **given(out_sharding=out_sharding),
    )


def _quantized_dot_fwd(
    lhs: Array,
    q_lhs: Array,
    lhs_scale: Array,
    rhs: Array,
    q_rhs: Array,
    rhs_scale: Array,
    out_grad_scale: Array,
    out_grad_amax_history: Array,
    dimension_numbers: DotDimensions,
    preferred_element_type: DTypeLike | None,
    grad_dtype: DTypeLike,
    out_sharding: OutSharding | None,
) -> tuple[Array, tuple[Array, ...]]:
    operands = (lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale)
    gradient = (out_grad_scale, out_grad_amax_history)
    options = (dimension_numbers, preferred_element_type, grad_dtype, out_sharding)
    out = quantized_dot(*operands, *gradient, *options)
    likes = (jnp.zeros((), lhs.dtype), jnp.zeros((), rhs.dtype))  # `lhs` and `rhs` aren't kept.
    return out, (q_lhs, lhs_scale, q_rhs, rhs_scale, *gradient, *likes)


def _quantized_dot_bwd(
    dimension_numbers: DotDimensions,
    preferred_element_type: DTypeLike | None,
    grad_dtype: DTypeLike,
    out_sharding: OutSharding | None,
    saved: tuple[Array, ...],
    g: Array,
) -> tuple[Any, ...]:
    q_lhs, lhs_scale, q_rhs, rhs_scale, scale, history, like_lhs, like_rhs = saved
    new_scale, new_history = update_fp8_meta(g, grad_dtype, scale, history)
    q_g = quantize(g, grad_dtype, new_scale, g.dtype)
    options: dict[str, Any] = {
        "dimension_numbers": dimension_numbers,
        "precision": lax.Precision.HIGHEST,
        "preferred_element_type": preferred_element_type,
    }
    lhs_grad = dot_general_transpose_lhs(q_g, q_lhs, q_rhs, **options)
    lhs_grad = dequantize(lhs_grad, like_lhs.dtype, rhs_scale * new_scale)
    rhs_grad = dot_general_transpose_rhs(q_g, q_lhs, q_rhs, **options)
    rhs_grad = dequantize(rhs_grad, like_rhs.dtype, lhs_scale * new_scale)
    # The gradient of a scale is the new scale, which `in_q` returns; this function returns None.
    return (lhs_grad, None, None, rhs_grad, None, None, new_scale, new_history)


quantized_dot.defvjp(_quantized_dot_fwd, _quantized_dot_bwd)


def fp8_scaled_dot_general(
    lhs: Array,
    rhs: Array,
    dimension_numbers: DotDimensions,
    precision: PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    *,
    lhs_scale: Array,
    rhs_scale: Array,
    grad_scale: Array,
    lhs_amax_history: Array,
    rhs_amax_history: Array,
    grad_amax_history: Array,
    quantize_compute_type: DTypeLike = jnp.float32,
    input_dtype: DTypeLike = jnp.float8_e4m3fn,
    grad_dtype: DTypeLike = jnp.float8_e5m2,
    out_sharding: OutSharding | None = None,
) -> Array:
    """`lax.dot_general` of 8-bit numbers; its gradients are products of 8-bit numbers, too.

    The gradients with respect to scales and histories are their new values, for the next step.

    Args:
      lhs, rhs: the operands.
      dimension_numbers: see `jax.lax.dot_general`.
      precision: accepted because layers pass it; not used.
      preferred_element_type: dtype of the accumulation and of the result; None for the operands'
        common type.
      lhs_scale, rhs_scale, grad_scale: [1], scales of the operands and of the result's gradient.
      lhs_amax_history, rhs_amax_history, grad_amax_history: [n].
      quantize_compute_type: dtype of the division by the scales.
      input_dtype: the 8-bit format of the operands.
      grad_dtype: that of the result's gradient.
      out_sharding: the result's sharding, on a mesh with explicit axes. By default the result is
        split as the operands' free dimensions are.

    Returns:
      The product, as from `jax.lax.dot_general`.

    >>> import jax, jax.numpy as jnp
    >>> state = {f"{name}_scale": jnp.ones(1) for name in ("lhs", "rhs", "grad")}
    >>> state |= {f"{name}_amax_history": jnp.zeros(4) for name in ("lhs", "rhs", "grad")}
    >>> x, contract = jnp.array([[1.3, 1.0]]), (((1,), (0,)), ((), ()))
    >>> fp8_scaled_dot_general(x, jnp.eye(2), contract, **state)
    Array([[1.25, 1.  ]], dtype=float32)
    """
    accepted(precision=precision)
    if preferred_element_type is None:
        preferred_element_type = jnp.result_type(lhs, rhs)
    if out_sharding is None:
        out_sharding = dot_layout(lhs, rhs, dimension_numbers)
    compute = quantize_compute_type
    q_lhs, lhs_scale = in_q(compute, input_dtype, lhs, lhs_scale, lhs_amax_history)
    q_rhs, rhs_scale = in_q(compute, input_dtype, rhs, rhs_scale, rhs_amax_history)
    out = quantized_dot(
        lhs,
        q_lhs,
        lhs_scale,
        rhs,
        q_rhs,
        rhs_scale,
        grad_scale,
        grad_amax_history,
        dimension_numbers,
        preferred_element_type,
        grad_dtype,
        out_sharding,
    )
    return out_dq(preferred_element_type, lhs_scale, rhs_scale, out)


def fp8_rounded_dot_general(
    lhs: Array,
    rhs: Array,
    dimension_numbers: DotDimensions,
    *,
    lhs_scale: Array,
    rhs_scale: Array,
    grad_scale: Array,
    lhs_amax_history: Array,
    rhs_amax_history: Array,
    grad_amax_history: Array,
    input_dtype: DTypeLike = jnp.float8_e4m3fn,
    grad_dtype: DTypeLike = jnp.float8_e5m2,
    out_sharding: OutSharding | None = None,
) -> Array:
    """`lax.dot_general` of operands that are rounded to 8 bits, in their own dtype.

    XLA recognizes the pattern on GPUs that have 8-bit matrix units, and uses them; elsewhere, the
    result is the same, but computing it takes a little longer than without rounding.

    Args:
      lhs, rhs: the operands, of one floating dtype.
      dimension_numbers: see `jax.lax.dot_general`.
      lhs_scale, rhs_scale, grad_scale: [1], scales of the operands and of the result's gradient.
      lhs_amax_history, rhs_amax_history, grad_amax_history: [n].
      input_dtype: the 8-bit format of the operands.
      grad_dtype: that of the result's gradient.
      out_sharding: the result's sharding, on a mesh with explicit axes. By default the result is
        split as the operands' free dimensions are.

    Returns:
      The product, in the operands' dtype.

    >>> import jax, jax.numpy as jnp
    >>> state = {f"{name}_scale": jnp.ones(1) for name in ("lhs", "rhs", "grad")}
    >>> state |= {f"{name}_amax_history": jnp.zeros(4) for name in ("lhs", "rhs", "grad")}
    >>> x, contract = jnp.array([[1.3, 1.0]]), (((1,), (0,)), ((), ()))
    >>> fp8_rounded_dot_general(x, jnp.eye(2), contract, **state)
    Array([[1.25, 1.  ]], dtype=float32)
    """
    dtype = rhs.dtype
    lhs = in_qdq(dtype, input_dtype, lhs, lhs_scale, lhs_amax_history)
    rhs = in_qdq(dtype, input_dtype, rhs, rhs_scale, rhs_amax_history)
    if out_sharding is None:
        out_sharding = dot_layout(lhs, rhs, dimension_numbers)
    out = dot_general_with_precision(lhs, rhs, dimension_numbers, out_sharding=out_sharding)
    return out_qdq(dtype, grad_dtype, out, grad_scale, grad_amax_history)
