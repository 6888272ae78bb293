"""`RNN`: runs a cell over a sequence, as a module.

A cell that can take all steps at once does so (`sequence`; see `RNNCellBase`); any other runs in a
loop, step by step. Reversing, ragged lengths and the position of the time dimension are handled the
same way for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from linnet.layers_recurrent._runs import axes_of, checked_cell, does_sequences, known_unroll
from linnet.layers_recurrent.functional import flip_sequences
from linnet.layers_recurrent.functional._layout import laid_out_as
from linnet.layers_recurrent.functional._lengths import checked_lengths
from linnet.module_core.errors import ArgumentTypeError, describe
from linnet.module_core.layers import Array, as_array, integer
from linnet.module_core.layers.nnx import Layer
from linnet.module_core.nnx import Rngs, RngStream
from linnet.module_core.nnx.filters import Filter
from linnet.module_core.typing import Carry, Output

from ._steps import run_steps
from .cell import RNNCellBase


class RNN(Layer):
    """Applies a cell to every step of a sequence.

    With their usual activations, `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, `MGUCell` and
    `SimpleCell` run faster than step by step, with the same results up to rounding.

    Args:
      cell: the cell that takes each step.
      time_major: time is the first dimension, (time, *batch, *features), instead of the one after
        the batch, (*batch, time, *features).
      return_carry: also returns the last carry.
      reverse: runs from the last step to the first; the outputs are in the order of processing.
        With `seq_lengths`, padding stays at the end.
      keep_order: with `reverse`, returns the outputs in the order of the inputs.
      unroll: the minimum number of steps in one iteration of the loop.
      state_axes: maps filters of the cell's state to `nnx.Carry` (carried from step to step), None
        (the same in each step) or an axis (one slice for each step). None carries the whole state,
        so that a cell can count its steps, or drop different values in each.
      broadcast_rngs: filter of the cell's streams that give the same keys in each step.
      rngs: streams that carries are drawn from, of which 'carry' is forked; True for a new stream
        seeded with 0; False for the cell's stream.

    Attributes:
      rngs: an `RngStream`, or None.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_recurrent.nnx import LSTMCell
    >>> from linnet.module_core.nnx import Rngs
    >>> x = jnp.ones((2, 30, 4))  # [batch, time, features]
    >>> lstm = RNN(LSTMCell(4, 16, rngs=Rngs(0)), return_carry=True)
    >>> carry, y = lstm(x)
    >>> jax.tree.map(jnp.shape, carry)  # memory and hidden state
    ((2, 16), (2, 16))
    >>> y.shape
    (2, 30, 16)
    """

    def __init__(
        self,
        cell: RNNCellBase,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        unroll: int = 1,
        state_axes: Mapping[Any, Any] | None = None,
        broadcast_rngs: Filter = None,
        rngs: Rngs | RngStream | bool = True,
    ) -> None:
        self.cell = checked_cell(
            cell, RNNCellBase, "in_features, features, rngs=rngs", "LSTMCell(3, 4, rngs=rngs)"
        )
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.unroll = integer(unroll, "unroll", least=1)
        self.rngs = carry_stream(rngs)
        self.state_axes = state_axes
        self.broadcast_rngs = broadcast_rngs

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Any | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Rngs | RngStream | None = None,
    ) -> Output:
        """Applies the cell to every step.

        Arguments that are also attributes override them when given.

        Args:
          inputs: (*batch, time, *features), or (time, *batch, *features) if `time_major`.
          initial_carry: the carry before the first step; by default `cell.initialize_carry` makes
            it.
          seq_lengths: integers (*batch), the length of each sequence. Outputs beyond it are not
            zero, but nothing else depends on them.
          return_carry, time_major, reverse, keep_order: see the class.
          rngs: streams that this carry is drawn from, of which 'carry' is forked, or one stream.

        Returns:
          The outputs, shaped like `inputs` except for the features; if `return_carry`, (last carry,
          outputs), where the last carry is that after each sequence's last step.

        Raises:
          ArgumentTypeError: `seq_lengths` are not integers.
          ShapeError, ArgumentError: `inputs`, `initial_carry` or `seq_lengths` doesn't fit.
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order

        inputs = as_array(inputs)
        shape = inputs.shape
        time_axis, batch_axes = axes_of(shape, self.cell.num_feature_axes, time_major)
        batch = tuple(shape[axis] for axis in batch_axes)
        lengths = None
        if seq_lengths is not None:
            lengths = checked_lengths(seq_lengths, batch, shape[time_axis])
        stream = self.rngs if rngs is None else rngs
        if isinstance(stream, Rngs):
            # Each call takes one key of 'carry', however many keys the cell draws, if any.
            stream = stream["carry"].fork()
        if initial_carry is None:
            step_shape = (*shape[:time_axis], *shape[time_axis + 1 :])
            initial_carry = self.cell.initialize_carry(step_shape, stream)

        if reverse:
            inputs = flip_sequences(inputs, lengths, len(batch), time_major)
        xs = jnp.moveaxis(inputs, time_axis, 0)
        last_of = lengths if return_carry else None
        done = self._at_once(initial_carry, xs, last_of)
        carry, outputs = self._step_by_step(initial_carry, xs, last_of) if done is None else done
        outputs = jax.tree.map(lambda y: jnp.moveaxis(y, 0, time_axis), outputs)
        if reverse and keep_order:
            outputs = jax.tree.map(
                lambda y: flip_sequences(y, lengths, len(batch), time_major), outputs
            )
        return (carry, outputs) if return_carry else outputs

    def _at_once(self, carry: object, xs: Array, lengths: Array | None) -> tuple[Carry, Any] | None:
        """The result of `cell.sequence`, or None if single steps are required."""
        plain = self.state_axes is None and self.broadcast_rngs is None
        if not plain or not does_sequences(type(self.cell)):
            return None
        cell: Any = self.cell
        done: tuple[Carry, Any] | None
        done = cell.sequence(carry, xs, lengths=lengths, unroll=self.unroll)
        return done

    def _step_by_step(self, carry: Carry, xs: Array, lengths: Array | None) -> tuple[Carry, Any]:
        carry = laid_out_as(xs, 0, carry, self.cell.num_feature_axes)
        return run_steps(
            self.cell,
            carry,
            xs,
            lengths,
            state_axes=self.state_axes,
            broadcast_rngs=self.broadcast_rngs,
            unroll=known_unroll(self.unroll, xs.shape[0]),
        )


def carry_stream(rngs: object) -> RngStream | None:
    """The stream that a layer stores for carries.

    Raises:
      ArgumentTypeError: `rngs` is neither streams nor a bool.
    """
    if isinstance(rngs, bool):
        return RngStream(0, tag="carry") if rngs else None
    if isinstance(rngs, Rngs):
        return rngs["carry"].fork()
    if isinstance(rngs, RngStream):
        return rngs.fork()
    raise ArgumentTypeError(
        f"'rngs' must be nnx.Rngs, an nnx.RngStream, True or False, got {describe(rngs)}."
    )
