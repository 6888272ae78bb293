"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078, in the form of cuDNN).

    r = σ(ir(x) + hr(h))
    z = σ(iz(x) + hz(h))
    n = φ(in(x) + r · hn(h))
    h' = (1 - z) · n + z · h

The maps are affine; hr and hz have no bias, but ir and iz do.
B batch, T time, D input features, H hidden features.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

from jax import lax
from jax.nn import sigmoid, tanh

from linnet.module_core.layers import Activation, Array

from ._recurrence import Blocks, Carry, Gates, sequence
from .affine import Affine, M, halved


class GRUMaps(NamedTuple, Generic[M]):
    """The maps of a GRU: i* for the input, [D] to [H]; h* for the hidden state, [H] to [H]."""

    ir: M
    hr: M
    iz: M
    hz: M
    in_: M
    hn: M


def gru(
    maps: GRUMaps[M],
    carry: Array,
    x: Array,
    *,
    gate_fn: Activation = sigmoid,
    activation_fn: Activation = tanh,
) -> tuple[Array, Array]:
    """One step of the GRU.

    Args:
      maps: the affine maps.
      carry: [..., H], the hidden state.
      x: [..., D].
      gate_fn: σ.
      activation_fn: φ.

    Returns:
      The new hidden state [..., H], twice: as the carry and as the output.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2))
    >>> carry, y = gru(GRUMaps(i, h, i, h, i, h), jnp.zeros((4, 2)), jnp.ones((4, 3)))
    >>> y.shape
    (4, 2)
    """
    h = carry
    r = gate_fn(maps.ir(x) + maps.hr(h))  # [..., H]
    z = gate_fn(maps.iz(x) + maps.hz(h))
    n = activation_fn(maps.in_(x) + r * maps.hn(h))
    h = (1.0 - z) * n + z * h
    return h, h


def gru_sequence(
    maps: GRUMaps[Affine],
    carry: Array,
    xs: Array,
    *,
    lengths: Array | None = None,
    unroll: int = 1,
) -> tuple[Array, Array]:
    """All steps of the GRU with its usual activations, σ and tanh.

    Args:
      maps: affine maps as arrays, all of the computation dtype.
      carry: [*batch, H], the hidden state before the first step.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence; None if all have T.
      unroll: the minimum number of steps in one iteration of the loop.

    Returns:
      The hidden state after the last step of each sequence, and the outputs [T, *batch, H].
      Beyond the end of a sequence, outputs continue as if it had all T steps.

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2))
    >>> carry, ys = gru_sequence(GRUMaps(i, h, i, h, i, h), jnp.zeros((4, 2)), jnp.ones((5, 4, 3)))
    >>> ys.shape
    (5, 4, 2)
    """
    inputs = (halved(maps.ir), halved(maps.iz), maps.in_)
    recurrent = (halved(maps.hr), halved(maps.hz), maps.hn)
    (h,), ys = sequence(GRU_GATES, inputs, recurrent, carry, xs, lengths=lengths, unroll=unroll)
    return h, ys


class GRUGates(Gates):
    """Gates r, z, n, one block each; r and z halved."""

    apart = (2,)

    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        _, z, n = _activated(p, q)
        return (n + z * (carry[0] - n),)

    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        (h,) = carry
        r, z, n = _activated(p, q)
        by_n = (1 - z) * (1 - n * n)
        # For a halved gate a, dσ/da = 2σ(1 - σ).
        by_r = by_n * q[2] * (2 * r * (1 - r))
        by_z = (h - n) * (2 * z * (1 - z))
        return (n + z * (h - n),), (by_r, by_z, by_n, by_n * r, z)

    def tangent(self, factors: Blocks, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        by_r, by_z, by_n, by_recalled, z = factors
        (dp_n,), (dq_r, dq_z, dq_n) = dp, dq
        gates = by_r * dq_r + by_z * dq_z + by_n * dp_n + by_recalled * dq_n
        return (gates + z * dcarry[0],)


def _activated(p: Blocks, q: Blocks) -> tuple[Array, Array, Array]:
    r = 0.5 * lax.tanh(p[0] + q[0]) + 0.5
    z = 0.5 * lax.tanh(p[1] + q[1]) + 0.5
    return r, z, lax.tanh(p[2] + r * q[2])


GRU_GATES = GRUGates()
