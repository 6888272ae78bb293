"""Long short-term memory (Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735).

    i = σ(ii(x) + hi(h))             input gate
    f = σ(if(x) + hf(h))             forget gate
    g = φ(ig(x) + hg(h))             candidate
    o = σ(io(x) + ho(h))             output gate
    c' = f · c + i · g               memory
    h' = o · φ(c')                   hidden state, and output

The maps are affine; the biases belong to the maps of the hidden state. B batch, T time, D input
features, H hidden features.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid, tanh

from linnet.module_core.layers import Activation, Array

from ._recurrence import Blocks, Carry, Gates, sequence
from .affine import Affine, M, halved, joined

LSTMCarry: TypeAlias = tuple[Array, Array]
"""(c, h): memory and hidden state, [..., H] each."""


class LSTMMaps(NamedTuple, Generic[M]):
    """The maps of an LSTM: i* for the input, [D] to [H]; h* for the hidden state, [H] to [H]."""

    ii: M
    hi: M
    if_: M
    hf: M
    ig: M
    hg: M
    io: M
    ho: M


def lstm(
    maps: LSTMMaps[M],
    carry: LSTMCarry,
    x: Array,
    *,
    gate_fn: Activation = sigmoid,
    activation_fn: Activation = tanh,
) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM, map by map.

    Args:
      maps: the affine maps.
      carry: (c, h), [..., H] each.
      x: [..., D].
      gate_fn: σ.
      activation_fn: φ.

    Returns:
      ((c', h'), h'), [..., H] each.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2), jnp.ones(2))
    >>> state = jnp.zeros((4, 2))
    >>> carry, y = lstm(LSTMMaps(i, h, i, h, i, h, i, h), (state, state), jnp.ones((4, 3)))
    >>> y.shape
    (4, 2)
    """
    c, h = carry
    i = gate_fn(maps.ii(x) + maps.hi(h))  # [..., H]
    f = gate_fn(maps.if_(x) + maps.hf(h))
    g = activation_fn(maps.ig(x) + maps.hg(h))
    o = gate_fn(maps.io(x) + maps.ho(h))
    c = f * c + i * g
    h = o * activation_fn(c)
    return (c, h), h


def optimized_lstm(
    maps: LSTMMaps[Affine],
    carry: LSTMCarry,
    x: Array,
    *,
    gate_fn: Activation = sigmoid,
    activation_fn: Activation = tanh,
) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM in two matrix products, one for the input and one for the hidden state.

    Args:
      maps: affine maps as arrays, all of the computation dtype.
      carry: (c, h), [..., H] each.
      x: [..., D].
      gate_fn: σ.
      activation_fn: φ.

    Returns:
      ((c', h'), h'), [..., H] each.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2), jnp.ones(2))
    >>> maps, state = LSTMMaps(i, h, i, h, i, h, i, h), jnp.zeros((4, 2))
    >>> carry, y = optimized_lstm(maps, (state, state), jnp.ones((4, 3)))
    >>> y.shape
    (4, 2)
    """
    c, h = carry
    gates = joined(maps.hi, maps.hf, maps.hg, maps.ho)(h)  # [..., 4H]
    gates = gates + joined(maps.ii, maps.if_, maps.ig, maps.io)(x)
    i, f, g, o = jnp.split(gates, 4, axis=-1)  # [..., H] each
    i, f, g, o = gate_fn(i), gate_fn(f), activation_fn(g), gate_fn(o)
    c = f * c + i * g
    h = o * activation_fn(c)
    return (c, h), h


def lstm_sequence(
    maps: LSTMMaps[Affine],
    carry: LSTMCarry,
    xs: Array,
    *,
    lengths: Array | None = None,
    unroll: int = 1,
) -> tuple[LSTMCarry, Array]:
    """All steps of the LSTM with its usual activations, σ and tanh.

    Args:
      maps: affine maps as arrays, all of the computation dtype.
      carry: (c, h) before the first step, [*batch, H] each.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence; None if all have T.
      unroll: the minimum number of steps in one iteration of the loop.

    Returns:
      (c, h) after the last step of each sequence, and the outputs [T, *batch, H]. Beyond the end of
      a sequence, outputs continue as if it had all T steps.

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2), jnp.ones(2))
    >>> state = jnp.zeros((4, 2))
    >>> maps = LSTMMaps(i, h, i, h, i, h, i, h)
    >>> carry, ys = lstm_sequence(maps, (state, state), jnp.ones((5, 4, 3)))
    >>> ys.shape
    (5, 4, 2)
    """
    inputs = joined(halved(maps.ii), halved(maps.if_), maps.ig, halved(maps.io))
    state = joined(halved(maps.hi), halved(maps.hf), maps.hg, halved(maps.ho))
    (c, h), ys = sequence(LSTM_GATES, [inputs], [state], carry, xs, lengths=lengths, unroll=unroll)
    return (c, h), ys


class LSTMGates(Gates):
    """Gates i, f, g, o in one block; all except g halved."""

    entries = ("c", "h")

    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        c, _ = carry
        i, f, g, o = _activated(p, q)
        c = f * c + i * g
        return c, o * lax.tanh(c)

    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        c, _ = carry
        i, f, g, o = _activated(p, q)
        new = f * c + i * g
        t = lax.tanh(new)
        # For a halved gate a, dσ/da = 2σ(1 - σ).
        by_i, by_f = 2 * i * (1 - i) * g, 2 * f * (1 - f) * c
        by_g, by_o = i * (1 - g * g), 2 * o * (1 - o) * t
        return (new, o * t), (by_i, by_f, by_g, by_o, f, o * (1 - t * t))

    def tangent(self, factors: Blocks, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        by_i, by_f, by_g, by_o, f, by_c = factors
        di, df, dg, do = jnp.split(dq[0], 4, axis=-1)
        dc = f * dcarry[0] + by_i * di + by_f * df + by_g * dg
        return dc, by_o * do + by_c * dc


def _activated(p: Blocks, q: Blocks) -> tuple[Array, Array, Array, Array]:
    i, f, g, o = jnp.split(lax.tanh(p[0] + q[0]), 4, axis=-1)  # [B, H] each
    return 0.5 * i + 0.5, 0.5 * f + 0.5, g, 0.5 * o + 0.5


LSTM_GATES = LSTMGates()
