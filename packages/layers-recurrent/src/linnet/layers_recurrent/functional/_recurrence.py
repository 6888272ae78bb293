"""How a gated recurrence runs over a whole sequence, forwards and backwards.

Every cell here is an elementwise formula (its `Gates`) of two affine maps:

    p_t = inputs(x_t)                 does not depend on the state
    q_t = recurrent(h_{t-1})
    carry_t = step(p_t, q_t, carry_{t-1})             h_t is the last entry of carry_t

Three things make a sequence cheaper than as many single steps:

1. `inputs` is applied to the steps of a whole chunk in one matrix product. A chunk, not the
   sequence, so that what is in flight stays in the cache.
2. All gates of a step are one product, and one `tanh`: σ(a) = ½ + ½ tanh(a/2), where the halves
   were multiplied into the maps beforehand (`halved`), which is exact.
3. The derivative. Differentiating the loop as it stands would add to the gradient of every weight
   at every step. But the tangent of a recurrence is a recurrence too, and a linear one:

       dq_t = h_{t-1} · dW + db + dh_{t-1} · W

   Its first part depends on no other tangent of the loop: it is one product for the whole chunk,
   taken outside. So its transpose, which is the gradient of W, is one product as well. JAX derives
   both modes of differentiation from the tangent; what the forward pass keeps for it are the
   derivatives of the step (`Gates.linearize`).

B batch, T time, C steps in a chunk, D input features, H hidden features, G features of all gates.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.errors import ShapeError

from ._arguments import entries_of, fitting, in_one_dtype, without_recurrent_bias
from ._lengths import at_last_step, checked_lengths
from ._types import Array, Shape
from .affine import Affine

Carry: TypeAlias = tuple[Array, ...]
"""What a cell keeps from one step to the next, [B, H] each; the last entry is its output."""

ROWS_IN_A_CHUNK = 512
"""Rows (steps times batch) of the product of a chunk's inputs: enough to keep the cores busy."""

UNROLLED_STEPS = 2
"""Steps in one turn of the loop: half the overhead of a turn, and still a small program."""


class Gates(ABC):
    """The elementwise formula of a cell, and its derivative; stateless, and equal to its like.

    Attributes:
      additive: the formula depends on p and q through their sum alone.
      entries: what the entries of the carry are called.
      features: how many dimensions of an array are no batch dimensions.
    """

    additive: bool = True
    entries: tuple[str, ...] = ("h",)
    features: int = 1

    @abstractmethod
    def step(self, p: Array, q: Array, carry: Carry) -> Carry:
        """The next carry, from p and q [B, G]; all in one dtype, float32 or wider."""

    @abstractmethod
    def linearize(self, p: Array, q: Array, carry: Carry) -> tuple[Carry, Any]:
        """The next carry, and the derivatives of the step as factors for `tangent`."""

    @abstractmethod
    def tangent(self, factors: Any, dp: Array, dq: Array, dcarry: Carry) -> Carry:
        """The tangent of the next carry; linear in all but `factors`.

        Where the gates are `additive`, `dq` is the tangent of p + q and `dp` isn't looked at.
        """

    def carry_dtype(self, dtype: Any, carry: Carry) -> Any:
        """The type of the carry after a step whose gates are of `dtype`."""
        return jnp.promote_types(dtype, carry[0].dtype)

    def product(self, h: Array, kernel: Array, dtype: Any) -> Array:
        """H · kernel, [..., G], computed in the kernel's type and returned in `dtype`."""
        contract = (((h.ndim - 1,), (0,)), ((), ()))
        return lax.dot_general(
            h.astype(kernel.dtype), kernel, contract, preferred_element_type=dtype
        )


def sequence(
    gates: Gates,
    inputs: Affine,
    recurrent: Affine,
    carry: Any,
    xs: Array,
    *,
    lengths: Array | None = None,
    unroll: int = 1,
) -> tuple[Carry, Array]:
    """Runs a recurrence over time.

    Args:
      gates: the formula.
      inputs: [D] to [G].
      recurrent: [H] to [G].
      carry: before the first step, [*batch, H]; a tuple if it has several entries.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence, or None.
      unroll: steps in one turn of the loop, at least.

    Returns:
      The carry after the last step of each sequence, and the outputs [T, *batch, H].

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.
    """
    time, *batch = _leading(xs, gates.features)
    shape = (*batch, *xs.shape[1 + len(batch) : -1], recurrent.kernel.shape[-2])
    carry = entries_of(carry, gates.entries)
    fitting(carry, gates.entries, shape)
    if lengths is not None:
        lengths = checked_lengths(lengths, tuple(batch), time)
    inputs, recurrent = in_one_dtype(inputs, recurrent, carry[-1], xs)
    dtype = inputs.kernel.dtype
    if gates.additive:
        inputs, recurrent = without_recurrent_bias(inputs, recurrent)
    before = tuple(jnp.asarray(c, gates.carry_dtype(dtype, carry)) for c in carry)
    # In float32 or wider: tanh of a half-precision number near ±1 leaves few bits of its distance.
    wide = jnp.promote_types(before[0].dtype, jnp.float32)
    bias = None if recurrent.bias is None else recurrent.bias.astype(wide)
    unroll = max(unroll, UNROLLED_STEPS)

    def chunk(carry: Carry, xs: Array) -> tuple[Carry, Carry]:
        flat = xs.reshape(-1, *xs.shape[2:])
        ps = inputs(flat).astype(wide)  # [C·B, G]
        ps = ps.reshape(*xs.shape[:2], *ps.shape[1:])  # [C, B, G]
        turn = min(unroll, xs.shape[0])
        return _steps(gates, turn, lengths is not None, ps, recurrent.kernel, bias, carry)

    size = math.prod(batch)
    flat = tuple(c.reshape(size, *c.shape[len(batch) :]) for c in before)  # [B, H]
    after, kept = _in_chunks(chunk, flat, xs.reshape(time, size, *xs.shape[1 + len(batch) :]))
    kept = tuple(k.reshape(time, *batch, *k.shape[2:]) for k in kept)  # [T, *batch, H]
    if lengths is None:
        last = tuple(a.reshape(b.shape) for a, b in zip(after, before, strict=True))
    else:
        last = tuple(at_last_step(k, lengths, b) for k, b in zip(kept, before, strict=True))
    return last, kept[-1]


def _leading(xs: Any, features: int) -> Shape:
    shape = tuple(getattr(xs, "shape", ()))
    if len(shape) < 1 + features:
        raise ShapeError(
            f"inputs have shape {shape}, expected (time, *batch, "
            f"{'*spatial, ' if features > 1 else ''}features): at least {1 + features} dimensions."
        )
    return shape[: len(shape) - features]


def _in_chunks(
    chunk: Callable[[Carry, Array], tuple[Carry, Carry]], carry: Carry, xs: Array
) -> tuple[Carry, Carry]:
    """Runs `chunk` over pieces of xs [T, B, D], and puts together what it keeps of each step."""
    time, *rows = xs.shape
    length = _chunk_length(time, rows[:-1])
    chunks = time // length if length else 0
    if chunks <= 1:
        return chunk(carry, xs)
    whole = chunks * length
    carry, kept = lax.scan(chunk, carry, xs[:whole].reshape(chunks, length, *rows))
    kept = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), kept)  # [T, B, H]
    if whole < time:
        carry, rest = chunk(carry, xs[whole:])
        kept = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), kept, rest)
    return carry, kept


def _chunk_length(time: int, rows: Sequence[Any]) -> int:
    # A batch size of an exported program may be unknown.
    count = math.prod(n if isinstance(n, int) and n else 32 for n in rows)
    return min(time, max(4, ROWS_IN_A_CHUNK // count))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _steps(
    gates: Gates,
    unroll: int,
    history: bool,
    ps: Array,
    kernel: Array,
    bias: Array | None,
    carry: Carry,
) -> tuple[Carry, Carry]:
    """The steps of one chunk: ps [C, B, G], kernel [H, G], bias [G]."""

    def step(carry: Carry, p: Array) -> tuple[Carry, Carry]:
        q = _recurrent(gates, carry, kernel, bias, p.dtype)
        carry = _like(gates.step(p, q, _like(carry, p)), carry)
        return carry, carry if history else carry[-1:]

    return lax.scan(step, carry, ps, unroll=unroll)


def _recurrent(gates: Gates, carry: Carry, kernel: Array, bias: Array | None, dtype: Any) -> Array:
    q = gates.product(carry[-1], kernel, dtype)  # [B, G]
    return q if bias is None else q + bias


@partial(_steps.defjvp, symbolic_zeros=True)
def _steps_jvp(
    gates: Gates, unroll: int, history: bool, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    ps, kernel, bias, before = primals
    dps, dkernel, dbias, dbefore = tangents

    def step(carry: Carry, p: Array) -> tuple[Carry, Any]:
        q = _recurrent(gates, carry, kernel, bias, p.dtype)
        after, factors = gates.linearize(p, q, _like(carry, p))
        carry = _like(after, carry)
        return carry, (carry if history else carry[-1:], factors)

    carry, (kept, factors) = lax.scan(step, before, ps, unroll=unroll)

    dps = _instantiated(dps)
    dqs: Any = (
        None  # what the tangents of kernel and bias contribute, for all steps at once: [C, B, G]
    )
    if not _is_zero(dkernel):
        hs = jnp.concatenate([before[-1][None], kept[-1][:-1]])  # [C, B, H], before each step
        flat = gates.product(hs.reshape(-1, *hs.shape[2:]), dkernel, ps.dtype)  # [C·B, G]
        dqs = flat.reshape(ps.shape)
    if dbias is not None and not _is_zero(dbias):
        dqs = dbias if dqs is None else dqs + dbias
    if gates.additive:
        dps, dqs = None, dps if dqs is None else dps + dqs
    elif dqs is not None:
        dqs = jnp.broadcast_to(dqs, ps.shape)

    def step_tangent(dcarry: Carry, step: Any) -> tuple[Carry, Carry]:
        dp, dq_weights, factors = step
        dq = gates.product(dcarry[-1], kernel, ps.dtype)
        dq = dq if dq_weights is None else dq + dq_weights
        dcarry = _like(gates.tangent(factors, dp, dq, _like(dcarry, dq)), dcarry)
        return dcarry, dcarry if history else dcarry[-1:]

    def tangent(dbefore: Carry, dps: Any, dqs: Any) -> tuple[Carry, Carry]:
        return lax.scan(step_tangent, dbefore, (dps, dqs, factors), unroll=unroll)

    dbefore = jax.tree.map(_instantiated, dbefore, is_leaf=_is_zero)
    # The function is linear, so its own derivative is the function. It is taken because JAX
    # transposes a loop only if it knows what the loop is linear in, which `jvp` tells it; the
    # value that comes along is of zeros, and falls away when the program is compiled.
    linear_in = (dbefore, dps, dqs)
    _, (dcarry, dkept) = jax.jvp(tangent, jax.tree.map(jnp.zeros_like, linear_in), linear_in)
    return (carry, kept), (dcarry, dkept)


def _like(carry: Carry, other: Carry | Array) -> Carry:
    # The formula computes in float32 or wider, the carry may be of another type.
    dtype = other[0].dtype if isinstance(other, tuple) else other.dtype
    return tuple(c.astype(dtype) for c in carry)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _instantiated(tangent: Any) -> Any:
    return jnp.zeros(tangent.shape, tangent.dtype) if _is_zero(tangent) else tangent
