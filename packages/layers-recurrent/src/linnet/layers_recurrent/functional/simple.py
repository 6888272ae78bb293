"""The simple recurrent cell (Elman 1990, doi:10.1207/s15516709cog1402_1).

    h' = φ(i(x) + h(h))              i, h affine maps, φ = tanh
    h' = φ(i(x) + h(h) + h)          with a residual connection (arXiv:1801.06105)

B batch, T time, D input features, H hidden features.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

from jax import lax
from jax.nn import tanh

from linnet.module_core.layers import Activation, Array, DTypeLike

from ._recurrence import Blocks, Carry, Gates, sequence
from .affine import Affine, M


class SimpleMaps(NamedTuple, Generic[M]):
    """The maps of a simple cell.

    Attributes:
      i: map of the input, [D] to [H].
      h: map of the hidden state, [H] to [H].
    """

    i: M
    h: M


def simple(
    maps: SimpleMaps[M],
    carry: Array,
    x: Array,
    *,
    activation_fn: Activation = tanh,
    residual: bool = False,
) -> tuple[Array, Any]:
    """One step of the simple cell.

    Args:
      maps: the affine maps.
      carry: [..., H], the hidden state.
      x: [..., D].
      activation_fn: φ.
      residual: adds the hidden state before the activation.

    Returns:
      The new hidden state [..., H], twice: as the carry and as the output.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> maps = SimpleMaps(i=Affine(jnp.ones((3, 2))), h=Affine(jnp.eye(2)))
    >>> carry, y = simple(maps, jnp.zeros((4, 2)), jnp.ones((4, 3)))
    >>> y.shape
    (4, 2)
    """
    new = maps.i(x) + maps.h(carry)  # [..., H]
    if residual:
        new = new + carry
    new = activation_fn(new)
    return new, new


def simple_sequence(
    maps: SimpleMaps[Affine],
    carry: Array,
    xs: Array,
    *,
    residual: bool = False,
    lengths: Array | None = None,
    unroll: int = 1,
) -> tuple[Array, Array]:
    """All steps of the simple cell with its usual activation, tanh.

    Args:
      maps: affine maps as arrays, all of the computation dtype.
      carry: [*batch, H], the hidden state before the first step.
      xs: [T, *batch, D].
      lengths: [*batch], the number of steps of each sequence; None if all have T.
      residual: adds the hidden state before the activation.
      unroll: the minimum number of steps in one iteration of the loop.

    Returns:
      The hidden state after the last step of each sequence, and the outputs [T, *batch, H].
      Beyond the end of a sequence, outputs continue as if it had all T steps.

    Raises:
      ShapeError, ArgumentError, ArgumentTypeError: the arguments don't fit.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.functional import Affine
    >>> i, h = Affine(jnp.ones((3, 2))), Affine(jnp.eye(2))
    >>> carry, ys = simple_sequence(SimpleMaps(i, h), jnp.zeros((4, 2)), jnp.ones((5, 4, 3)))
    >>> ys.shape
    (5, 4, 2)
    """
    gates = RESIDUAL_GATES if residual else SIMPLE_GATES
    (h,), ys = sequence(gates, [maps.i], [maps.h], carry, xs, lengths=lengths, unroll=unroll)
    return h, ys


class SimpleGates(Gates):
    """A single gate, the candidate."""

    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        return (lax.tanh(p[0] + q[0]),)

    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        (h,) = self.step(p, q, carry)
        return (h,), 1 - h * h

    def tangent(self, factors: Array, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        return (factors * dq[0],)

    def carry_dtype(self, dtype: DTypeLike, carry: Carry) -> DTypeLike:
        return dtype


class ResidualGates(Gates):
    """A single gate, with the hidden state added before the activation."""

    def step(self, p: Blocks, q: Blocks, carry: Carry) -> Carry:
        return (lax.tanh(p[0] + q[0] + carry[0]),)

    def linearize(self, p: Blocks, q: Blocks, carry: Carry) -> tuple[Carry, Any]:
        (h,) = self.step(p, q, carry)
        return (h,), 1 - h * h

    def tangent(self, factors: Array, dp: Blocks, dq: Blocks, dcarry: Carry) -> Carry:
        return (factors * (dq[0] + dcarry[0]),)


SIMPLE_GATES = SimpleGates()
RESIDUAL_GATES = ResidualGates()
