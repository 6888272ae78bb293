"""The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420).

    f = σ(if(x) + hf(h))
    n = φ(in(x) + f · hn(h))         or, without reset gate, φ(in(x) + hn(h))
    h' = (1 - f) · n + f · h

The maps are affine; hf has no bias, and hn has one only with the reset gate.
B batch, T time, D input features, H hidden features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid, tanh

from ._recurrence import Carry, Gates, sequence
from ._types import Activation, Array, M
from .affine import Affine, halved, joined


class MGUMaps(NamedTuple, Generic[M]):
    """The maps of an MGU: i* of the input, [D] to [H]; h* of the hidden state, [H] to [H]."""

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
      maps: affine maps as arrays, all of one dtype to compute in.
      carry: [*batch, H], the hidden state before the first step.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence; None if all have T.
      reset_gate: the forget gate also scales what the hidden state adds to the candidate.
      unroll: steps in one turn of the loop, at least.

    Returns:
      The hidden state after the last step of each sequence, and the outputs [T, *batch, H].
      Outputs beyond a sequence's end go on as if there was none.

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2))
    >>> carry, ys = mgu_sequence(MGUMaps(i, h, h, i), jnp.zeros((4, 2)), jnp.ones((5, 4, 3)))
    >>> ys.shape
    (5, 4, 2)
    """
    inputs, recurrent = joined(halved(maps.if_), maps.in_), joined(halved(maps.hf), maps.hn)
    gates = RESETTING_GATES if reset_gate else MGU_GATES
    (h,), ys = sequence(gates, inputs, recurrent, carry, xs, lengths=lengths, unroll=unroll)
    return h, ys


class MGUGates(Gates):
    """Columns f, n; those of f halved."""

    def step(self, p: Array, q: Array, carry: Carry) -> Carry:
        f, n = _activated(p + q)
        return ((1 - f) * n + f * carry[0],)

    def linearize(self, p: Array, q: Array, carry: Carry) -> tuple[Carry, Any]:
        (h,) = carry
        f, n = _activated(p + q)
        # For a halved column a, dσ/da = 2σ(1 - σ).
        columns = ((h - n) * (2 * f * (1 - f)), (1 - f) * (1 - n * n))
        return ((1 - f) * n + f * h,), (jnp.concatenate(columns, -1), f)

    def tangent(self, factors: Any, dp: Array, dq: Array, dcarry: Carry) -> Carry:
        columns, f = factors
        df, dn = halves(columns * dq)
        return (f * dcarry[0] + df + dn,)


class ResettingGates(Gates):
    """The same, where f also scales the column n of what the hidden state adds."""

    additive = False

    def step(self, p: Array, q: Array, carry: Carry) -> Carry:
        f, n, _ = _reset(p, q)
        return ((1 - f) * n + f * carry[0],)

    def linearize(self, p: Array, q: Array, carry: Carry) -> tuple[Carry, Any]:
        (h,) = carry
        f, n, recalled = _reset(p, q)
        by_n = (1 - f) * (1 - n * n)
        by_f = (h - n + by_n * recalled) * (2 * f * (1 - f))
        return ((1 - f) * n + f * h,), (jnp.concatenate((by_f, by_n), -1), f)

    def tangent(self, factors: Any, dp: Array, dq: Array, dcarry: Carry) -> Carry:
        columns, f = factors
        df, dn = halves(columns * dp)
        df_q, dn_q = halves(columns * dq)
        return (f * dcarry[0] + df + df_q + dn + f * dn_q,)


def _activated(columns: Array) -> tuple[Array, Array]:
    f, n = halves(lax.tanh(columns))
    return 0.5 * f + 0.5, n


def _reset(p: Array, q: Array) -> tuple[Array, Array, Array]:
    pf, pn = halves(p)
    qf, qn = halves(q)
    f = 0.5 * lax.tanh(pf + qf) + 0.5
    return f, lax.tanh(pn + f * qn), qn


def halves(columns: Array) -> Sequence[Array]:
    """[..., 2H] as two of [..., H]."""
    size = columns.shape[-1] // 2
    return lax.split(columns, (size,) * 2, axis=-1)


MGU_GATES = MGUGates()
RESETTING_GATES = ResettingGates()
