"""The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420).

    f = σ(if(x) + hf(h))
    n = φ(in(x) + f · hn(h))         without the reset gate: φ(in(x) + hn(h))
    h' = (1 - f) · n + f · h

The maps are affine; hf has no bias, and hn has one only with the reset gate.
B batch, T time, D input features, H hidden features.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid, tanh

from linnet.module_core.layers import Activation, Array

from ._recurrence import Blocks, Carry, Gates, sequence
from .affine import Affine, M, halved, joined


class MGUMaps(NamedTuple, Generic[M]):
    """The maps of an MGU: i* for the input, [D] to [H]; h* for the hidden state, [H] to [H]."""

    if_: M
    hf: M
    hn: M
    in_: M


def mgu(
    maps: MGUMaps[M],
    carry: Array,
    x: Array,
    *,
    gate_fn: Activation = sigmoid,
    activation_fn: Activation = tanh,
    reset_gate: bool = True,
) -> tuple[Array, Array]:
    """One step of the MGU.

    Args:
      maps: the affine maps.
      carry: [..., H], the hidden state.
      x: [..., D].
      gate_fn: σ.
      activation_fn: φ.
      reset_gate: the forget gate also scales what the hidden state adds to the candidate.

    Returns:
      The new hidden state [..., H], twice: as the carry and as the output.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2))
    >>> carry, y = mgu(MGUMaps(i, h, h, i), jnp.zeros((4, 2)), jnp.ones((4, 3)))
    >>> y.shape
    (4, 2)
    """
    h = carry
    f = gate_fn(maps.if_(x) + maps.hf(h))  # [..., H]
    recalled = maps.hn(h)
    if reset_gate:
        recalled = recalled * f
    n = activation_fn(maps.in_(x) + recalled)
    h = (1.0 - f) * n + f * h
    return h, h


def mgu_sequence(
    maps: MGUMaps[Affine],
    carry: Array,
    xs: Array,
    *,
    reset_gate: bool = True,
    lengths: Array | None = None,
    unroll: int = 1,
) -> tuple[Array, Array]:
    """All steps of the MGU with its usual activations, σ and tanh.

    Args:
      maps: affine maps as arrays, all of the computation dtype.
      carry: [*batch, H], the hidden state before the first step.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence; None if all have T.
      reset_gate: the forget gate also scales what the hidden state adds to the candidate.
      unroll: the minimum number of steps in one iteration of the loop.

    Returns:
      The hidden state after the last step of each sequence, and the outputs [T, *batch, H].
      Beyond the end of a sequence, outputs continue as if it had all T steps.

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2))
    >>> carry, ys = mgu_sequence(MGUMaps(i, h, h, i), jnp.zeros((4, 2)), jnp.ones((5, 4, 3)))
    >>> ys.shape
    (5, 4, 2)
    """
    inputs, recurrent = [halved(maps.if_), maps.in_], [halved(maps.hf), maps.hn]
    gates: Gates = RESETTING_GATES
    if not reset_gate:
        gates, inputs, recurrent = MGU_GATES, [joined(*inputs)], [joined(*recurrent)]
    (h,), ys = sequence(gates, inputs, recurrent, carry, xs, lengths=lengths, unroll=unroll)
    return h, ys


class MGUGates(Gates):
    """Gates f, n in one block; f halved."""

    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        f, n = _activated(p, q)
        return (n + f * (carry[0] - n),)

    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        (h,) = carry
        f, n = _activated(p, q)
        # For a halved gate a, dσ/da = 2σ(1 - σ).
        by_f = (h - n) * (2 * f * (1 - f))
        return (n + f * (h - n),), (by_f, (1 - f) * (1 - n * n), f)

    def tangent(self, factors: Blocks, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        by_f, by_n, f = factors
        df, dn = jnp.split(dq[0], 2, axis=-1)
        return (by_f * df + by_n * dn + f * dcarry[0],)


def _activated(p: Blocks, q: Blocks) -> tuple[Array, Array]:
    f, n = jnp.split(lax.tanh(p[0] + q[0]), 2, axis=-1)  # [B, H] each
    return 0.5 * f + 0.5, n


class ResettingGates(Gates):
    """Gates f, n in separate blocks, where f also scales the hidden state's contribution to n."""

    apart = (1,)

    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        f = 0.5 * lax.tanh(p[0] + q[0]) + 0.5
        n = lax.tanh(p[1] + f * q[1])
        return (n + f * (carry[0] - n),)

    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        (h,) = carry
        f = 0.5 * lax.tanh(p[0] + q[0]) + 0.5
        n = lax.tanh(p[1] + f * q[1])
        by_n = (1 - f) * (1 - n * n)
        by_f = (h - n + by_n * q[1]) * (2 * f * (1 - f))
        return (n + f * (h - n),), (by_f, by_n, by_n * f, f)

    def tangent(self, factors: Blocks, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        by_f, by_n, by_recalled, f = factors
        (dp_n,), (dq_f, dq_n) = dp, dq
        return (by_f * dq_f + by_n * dp_n + by_recalled * dq_n + f * dcarry[0],)


MGU_GATES = MGUGates()
RESETTING_GATES = ResettingGates()
