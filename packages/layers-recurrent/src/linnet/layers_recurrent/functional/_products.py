"""The products of a recurrence with its kernels, and their tangents.

The gradient of a kernel sums over the steps and the batch:

    dW = Σ_{c, b} h_{c, b}ᵀ · dq_{c, b}

XLA contracts a single dimension without copying. To contract two, it first transposes the wider
array element by element, which on a CPU takes half as long as the product (8.5 ms instead of
5.7 ms for an LSTM with 256 features). The tangent, whose transpose the gradient is, therefore
merges steps and batch itself, and copies whole rows, which is fast.

The merged dimension starts with the batch: a batch that is split over devices stays one contiguous
part of it. Merged after time, it would not, and every device would gather and compute all of it.
With several batch dimensions, or on a mesh with explicit axes, nothing is merged.

B batch, C steps in a chunk, D input features, F features of the operand, W features of a block.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.layers import Array, DTypeLike
from linnet.module_core.layout import layout_of
from linnet.module_core.replaced import dot_is_replaced
from linnet.module_core.typing import PyTree

from .affine import Affine


def product(h: Array, kernel: Array, dtype: DTypeLike, axis: int = 0) -> Array:
    """Multiplies h by `axis` of the kernel in the kernel's dtype; returns `dtype`."""
    contract = (((h.ndim - 1,), (axis,)), ((), ()))
    return lax.dot_general(h.astype(kernel.dtype), kernel, contract, preferred_element_type=dtype)


def plus(q: Array, bias: Array) -> Array:
    """Adds a bias [W] to q [..., W]; its rank is raised here, as a program may forbid otherwise."""
    return q + lax.expand_dims(bias, tuple(range(q.ndim - 1)))


def of_inputs(inputs: Affine, xs: Array) -> Array:
    """The map of a chunk's inputs: xs [C, *batch, D] to [C, *batch, W]."""
    # A replacement, such as a quantized product, has a derivative of its own.
    return inputs(xs) if dot_is_replaced() else _of_inputs(inputs, xs)


@jax.custom_jvp
def _of_inputs(inputs: Affine, xs: Array) -> Array:
    return inputs(xs)


@partial(_of_inputs.defjvp, symbolic_zeros=True)
def _of_inputs_jvp(primals: PyTree, tangents: PyTree) -> tuple[Array, Array]:
    (inputs, xs), (dinputs, dxs) = primals, tangents
    ps = inputs(xs)  # [C, *batch, W]
    dps = of_weights(xs, dinputs.kernel, dinputs.bias, ps.dtype)
    if not is_zero(dxs):
        along = product(dxs, inputs.kernel, ps.dtype)
        dps = along if dps is None else dps + along
    return ps, jnp.zeros_like(ps) if dps is None else dps


def of_weights(hs: Array, dkernel: Array, dbias: Array | None, dtype: DTypeLike) -> Array | None:
    """The contribution of the tangents of kernel and bias: [C, *batch, W], or None.

    Args:
      hs: [C, *batch, F].
      dkernel: [F, W], or a symbolic zero.
      dbias: [W], a symbolic zero, or None.
      dtype: dtype of the result.
    """
    dq = None if is_zero(dkernel) else _by_rows(hs, dkernel, dtype)
    if dbias is not None and not is_zero(dbias):
        shape = (*hs.shape[:-1], dbias.shape[0])
        dq = jnp.broadcast_to(dbias.astype(dtype), shape) if dq is None else plus(dq, dbias)
    return dq


def _by_rows(hs: Array, kernel: Array, dtype: DTypeLike) -> Array:
    """The same as `product`; its transpose for the kernel contracts a single dimension."""
    if hs.ndim != 3 or layout_of(hs) is not None:
        return product(hs, kernel, dtype)
    steps, size, features = hs.shape
    rows = hs.swapaxes(0, 1).reshape(size * steps, features)  # [B·C, F]
    q = product(rows, kernel, dtype).reshape(size, steps, kernel.shape[1])  # [B, C, W]
    return q.swapaxes(0, 1)


def is_zero(tangent: object) -> bool:
    """Whether a tangent is known to be zero before anything is computed."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)
