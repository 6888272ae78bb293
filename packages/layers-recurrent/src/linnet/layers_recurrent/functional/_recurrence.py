"""Runs a gated recurrence over a whole sequence, with an equally fast derivative.

Every cell here is an elementwise formula (its `Gates`) of two affine maps per block b of its gates:

    p_b = inputs_b(x_t)               does not depend on the state
    q_b = recurrent_b(h_{t-1})
    carry_t = step(p, q, carry_{t-1})                 h_t is the last entry of carry_t

Three techniques make a sequence cheaper than the same number of single steps:

1. `inputs` are applied to a whole chunk of steps at once. A chunk, unlike the whole sequence, stays
   in the cache.
2. The only transcendental function is tanh: σ(a) = ½ + ½ tanh(a/2), where the factor ½ is
   multiplied into the maps beforehand (`halved`), which is exact.
3. The derivative is a separate recurrence. Differentiating the loop directly would add to the
   gradient of every weight at every step. But the tangent of a recurrence is again a recurrence,
   and a linear one:

       dq_t = h_{t-1} · dW + db + dh_{t-1} · W

   Its first part does not depend on other tangents of the loop, so it is one product for the whole
   chunk, computed outside the loop. Its transpose, the gradient of W, is therefore also one
   product. JAX derives both modes of differentiation from the tangent, for which the forward pass
   stores the derivatives of the step (`Gates.linearize`).

A block is one product. XLA spreads wide products over idle cores and leaves narrow ones to a single
core, so an LSTM has all four gates in one block. Its columns are split after the tanh, which thus
runs over contiguous memory; splitting them before the tanh makes an LSTM take 50% longer. A GRU
uses r in n, between two products; splitting r from z there costs more than their joint product
gains (a fifth to a half of the forward pass), so each gate has its own block.

No product merges the batch after time, so a batch that is split over devices stays split
(`_products`).

B batch, T time, C steps in a chunk, D input features, H hidden features, W features of a block: H
times its number of gates.
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
from linnet.module_core.layers import Array, DTypeLike, Shape
from linnet.module_core.typing import PyTree

from ._checks import entries_of, fitting
from ._layout import as_before, laid_out_as
from ._lengths import at_last_step, checked_lengths
from ._preparation import in_one_dtype, without_recurrent_bias
from ._products import (
    instantiated,
    of_inputs,
    of_weights,
    plus,
    product,
    side_by_side,
    split,
    together,
)
from .affine import Affine

Carry: TypeAlias = tuple[Array, ...]
"""The state of a cell between steps, [*batch, H] each; the last entry is its output."""

Blocks: TypeAlias = tuple[Array, ...]
"""One array for each block of gates."""

ROWS_IN_A_CHUNK = 512
"""Rows (steps times batch) of the product of a chunk's inputs: enough to keep the cores busy."""


class Gates(ABC):
    """The elementwise formula of a cell, and its derivative; stateless.

    All arrays are of one dtype, float32 or wider.

    Attributes:
      apart: the blocks whose p and q the formula uses separately, not only through their sum.
      entries: the names of the carry's entries.
    """

    apart: tuple[int, ...] = ()
    entries: tuple[str, ...] = ("h",)

    @abstractmethod
    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        """The next carry, from p and q [*batch, W]."""

    @abstractmethod
    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        """The next carry, and the derivatives of the step as factors for `tangent`."""

    @abstractmethod
    def tangent(self, factors: Any, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        """The tangent of the next carry; linear in everything except `factors`.

        For the blocks in `apart`, `dp` and `dq` are the tangents of p and q: `dp` has an entry for
        these blocks only. For the others, `dq` is the tangent of p + q.
        """

    def carry_dtype(self, dtype: DTypeLike, carry: Carry) -> DTypeLike:
        """The dtype of the carry after a step whose gates are of `dtype`."""
        return jnp.promote_types(dtype, carry[0].dtype)


def sequence(
    gates: Gates,
    inputs: Sequence[Affine],
    recurrent: Sequence[Affine],
    carry: object,
    xs: Array,
    *,
    lengths: Array | None = None,
    unroll: int = 1,
) -> tuple[Carry, Array]:
    """Runs a recurrence over time.

    Args:
      gates: the formula.
      inputs: [D] to [W], for each block.
      recurrent: [H] to [W], for each block.
      carry: the carry before the first step, [*batch, H]; a tuple if it has several entries.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence, or None.
      unroll: steps in one iteration of the loop.

    Returns:
      The carry after the last step of each sequence, and the outputs [T, *batch, H].

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.
    """
    time, *batch = _time_and_batch(xs)
    carry = entries_of(carry, gates.entries)
    hidden = recurrent[0].kernel.shape[0]
    fitting(carry, gates.entries, (*batch, hidden))
    if lengths is not None:
        lengths = checked_lengths(lengths, tuple(batch), time)
    inputs, recurrent = in_one_dtype(inputs, recurrent, carry[-1], xs)
    if not gates.apart:
        inputs, recurrent = without_recurrent_bias(inputs, recurrent)
    dtype = gates.carry_dtype(inputs[0].kernel.dtype, carry)
    before = laid_out_as(xs, 0, tuple(jnp.asarray(c, dtype) for c in carry))
    # In float32 or wider: near ±1, a half-precision tanh leaves few bits for the distance to ±1.
    wide = jnp.promote_types(dtype, jnp.float32)
    kernels = tuple(m.kernel for m in recurrent)
    biases = tuple(None if m.bias is None else m.bias.astype(wide) for m in recurrent)

    def chunk(carry: Carry, xs: Array) -> tuple[Carry, Carry]:
        ps = tuple(p.astype(wide) for p in of_inputs(inputs, xs))  # [C, *batch, W]
        return _steps(
            gates, _turn(unroll, xs.shape[0]), lengths is not None, ps, kernels, biases, carry
        )

    after, kept = _in_chunks(chunk, before, xs)  # [T, *batch, H]
    if lengths is None:
        last = after
    else:
        last = tuple(at_last_step(k, lengths, b) for k, b in zip(kept, before, strict=True))
    return last, kept[-1]


def _time_and_batch(xs: object) -> Shape:
    shape = tuple(getattr(xs, "shape", ()))
    if len(shape) < 2:
        raise ShapeError(
            f"inputs have shape {shape}, expected (time, *batch, features): at least 2 dimensions."
        )
    return shape[:-1]


def _in_chunks(
    chunk: Callable[[Carry, Array], tuple[Carry, Carry]], carry: Carry, xs: Array
) -> tuple[Carry, Carry]:
    """Runs `chunk` over pieces of xs [T, *batch, D] and joins the values it stores per step."""
    time, of_step = xs.shape[0], xs.shape[1:]
    if not isinstance(time, int):  # unknown in an exported program: a single chunk
        return chunk(carry, xs)
    length = _chunk_length(math.prod(of_step[:-1]))
    chunks = time // length
    if chunks <= 1:
        return chunk(carry, xs)
    whole = chunks * length
    carry, kept = lax.scan(chunk, carry, xs[:whole].reshape(chunks, length, *of_step))
    kept = tuple(k.reshape(whole, *k.shape[2:]) for k in kept)  # [T, *batch, H]
    if whole < time:
        carry, rest = chunk(carry, xs[whole:])
        kept = tuple(jnp.concatenate([k, r]) for k, r in zip(kept, rest, strict=True))
    return carry, kept


def _chunk_length(batch: object) -> int:
    # The batch size of an exported program may be unknown.
    return max(4, ROWS_IN_A_CHUNK // (batch if isinstance(batch, int) and batch else 32))


def _turn(unroll: int, steps: object) -> int:
    # An unknown number of steps may be smaller than `unroll`, or not a multiple of it.
    return max(1, min(unroll, steps)) if isinstance(steps, int) else 1


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _steps(
    gates: Gates,
    unroll: int,
    history: bool,
    ps: Blocks,
    kernels: Blocks,
    biases: tuple[Array | None, ...],
    carry: Carry,
) -> tuple[Carry, Carry]:
    """The steps of one chunk.

    Args:
      gates: the formula.
      unroll: steps in one iteration of the loop.
      history: whether to store every entry of the carry at all steps, not just the last entry.
      ps: [C, *batch, W], for each block.
      kernels: [H, W], for each block.
      biases: [W] or None, for each block.
      carry: the carry before the first step, [*batch, H] each.

    Returns:
      The carry after the last step, and the history: [C, *batch, H].
    """

    def step(carry: Carry, p: Blocks) -> tuple[Carry, Carry]:
        q = _recurrent(carry, kernels, biases, p[0].dtype)
        carry = as_before(_like(gates.step(p, q, _like(carry, p)), carry), carry)
        return carry, carry if history else carry[-1:]

    return lax.scan(step, carry, ps, unroll=unroll)


@partial(_steps.defjvp, symbolic_zeros=True)
def _steps_jvp(
    gates: Gates, unroll: int, history: bool, primals: PyTree, tangents: PyTree
) -> tuple[Any, Any]:
    ps, kernels, biases, before = primals
    dps, dkernels, dbiases, dbefore = tangents
    dtype = ps[0].dtype

    def step(carry: Carry, p: Blocks) -> tuple[Carry, Any]:
        q = _recurrent(carry, kernels, biases, dtype)
        after, factors = gates.linearize(p, q, _like(carry, p))
        carry = as_before(_like(after, carry), carry)
        return carry, (carry if history else carry[-1:], factors)

    carry, (kept, factors) = lax.scan(step, before, ps, unroll=unroll)

    # The state before each step; empty if there are no steps.
    hs = jnp.concatenate([before[-1][None], kept[-1]])[: ps[0].shape[0]]  # [C, *batch, H]
    dps = tuple(instantiated(dp, p) for dp, p in zip(dps, ps, strict=True))
    groups = together(len(kernels), math.prod(hs.shape[:-1]))
    dqs = tuple(_sum_of_tangents(gates, hs, dps, kernels, dkernels, dbiases, g) for g in groups)
    dps = tuple(dps[block] for block in gates.apart)
    widths = [[kernels[block].shape[1] for block in group] for group in groups]
    # Transposed twice: a gradient takes the transpose of this product at each step, and should find
    # the kernel contiguous in memory.
    across = tuple(side_by_side([kernels[block] for block in group]).T for group in groups)

    def step_tangent(dcarry: Carry, step: tuple[Any, Any, Any]) -> tuple[Carry, Carry]:
        dp, dq, factors = step
        blocks: Blocks = ()
        for kernel, known, sizes in zip(across, dq, widths, strict=True):
            recalled = product(dcarry[-1], kernel, dtype, axis=1)
            blocks += split(recalled if known is None else recalled + known, sizes)
        after = gates.tangent(factors, dp, blocks, _like(dcarry, blocks))
        dcarry = as_before(_like(after, dcarry), dcarry)
        return dcarry, dcarry if history else dcarry[-1:]

    def tangent(dbefore: Carry, dps: object, dqs: object) -> tuple[Carry, Carry]:
        return lax.scan(step_tangent, dbefore, (dps, dqs, factors), unroll=unroll)

    dbefore = tuple(instantiated(d, b) for d, b in zip(dbefore, before, strict=True))
    # The function is linear, so it equals its derivative. `jvp` is used nevertheless, because JAX
    # transposes a loop only if it knows what the loop is linear in; the primal value, computed from
    # zeros, is removed when the program is compiled.
    linear_in = (dbefore, dps, dqs)
    _, (dcarry, dkept) = jax.jvp(tangent, jax.tree.map(jnp.zeros_like, linear_in), linear_in)
    return (carry, kept), (dcarry, dkept)


def _recurrent(
    carry: Carry, kernels: Blocks, biases: tuple[Array | None, ...], dtype: DTypeLike
) -> Blocks:
    qs = (product(carry[-1], kernel, dtype) for kernel in kernels)  # [*batch, W]
    return tuple(q if b is None else plus(q, b) for q, b in zip(qs, biases, strict=True))


def _like(carry: Carry, other: Carry) -> Carry:
    # The formula computes in float32 or wider; the carry may be of a different type.
    return tuple(c.astype(other[0].dtype) for c in carry)


def _sum_of_tangents(
    gates: Gates,
    hs: Array,
    dps: Blocks,
    kernels: Blocks,
    dkernels: PyTree,
    dbiases: PyTree,
    group: Sequence[int],
) -> Array | None:
    """The part of the tangents of p + q (of q for the blocks in `apart`) that is known beforehand.

    It excludes the contribution of the previous step's tangent: [C, *batch, ΣW], or None.
    """
    of, dof, dbias = ([xs[block] for block in group] for xs in (kernels, dkernels, dbiases))
    dq = of_weights(hs, of, dof, dbias, dps[0].dtype)
    if all(block in gates.apart for block in group):
        return dq
    dp = side_by_side([jnp.zeros_like(dps[b]) if b in gates.apart else dps[b] for b in group])
    return dp if dq is None else dp + dq
