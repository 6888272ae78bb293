"""`RNN`: runs a cell over a sequence, as a module.

A cell that can take all steps at once does so (`sequence`; see `RNNCellBase`); any other is lifted
into a scan, step by step. Reversing, ragged lengths and the position of the time dimension are
handled the same way for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from linnet.layers_recurrent._runs import (
    axes_of,
    checked_cell,
    choose,
    does_sequences,
    known_unroll,
)
from linnet.layers_recurrent.functional import flip_sequences
from linnet.layers_recurrent.functional._layout import as_before, laid_out_as
from linnet.layers_recurrent.functional._lengths import checked_lengths
from linnet.module_core.layers import Array, as_array, integer
from linnet.module_core.linen import CollectionFilter, Module, PRNGSequenceFilter, scan
from linnet.module_core.linen.context import context
from linnet.module_core.typing import Carry, Output
from linnet.struct import FrozenDict

from .cell import RNNCellBase


class RNN(Module):
    """Applies a cell to every step of a sequence.

    With their usual activations and the default fields of the scan, `LSTMCell`,
    `OptimizedLSTMCell`, `GRUCell`, `MGUCell` and `SimpleCell` run faster than step by step, with
    the same results up to rounding.

    Args:
      cell: the cell that takes each step.
      time_major: time is the first dimension, (time, *batch, *features), instead of the one after
        the batch, (*batch, time, *features).
      return_carry: also returns the last carry.
      reverse: runs from the last step to the first; the outputs are in the order of processing.
        With `seq_lengths`, padding stays at the end.
      keep_order: with `reverse`, returns the outputs in the order of the inputs.
      unroll: the minimum number of steps in one iteration of the loop.
      variable_axes, variable_broadcast, variable_carry, split_rngs: how the scan treats the cell's
        collections and random streams; see `scan`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_recurrent.linen import LSTMCell
    >>> x = jnp.ones((2, 30, 4))  # [batch, time, features]
    >>> lstm = RNN(LSTMCell(16), return_carry=True)
    >>> (carry, y), variables = lstm.init_with_output(jax.random.key(0), x)
    >>> jax.tree.map(jnp.shape, carry)  # memory and hidden state
    ((2, 16), (2, 16))
    >>> y.shape
    (2, 30, 16)
    """

    cell: RNNCellBase
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    unroll: int = 1
    variable_axes: Mapping[CollectionFilter, Any] = FrozenDict({})
    variable_broadcast: CollectionFilter = "params"
    variable_carry: CollectionFilter = False
    split_rngs: Mapping[PRNGSequenceFilter, bool] = FrozenDict({"params": False})

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Any | None = None,
        init_key: Array | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Output:
        """Applies the cell to every step.

        Arguments that are also fields override them when given.

        Args:
          inputs: (*batch, time, *features), or (time, *batch, *features) if `time_major`.
          initial_carry: the carry before the first step; by default `cell.initialize_carry` makes
            it.
          init_key: random key for that, `jax.random.key(0)` by default; most cells ignore it.
          seq_lengths: integers (*batch), the length of each sequence. Outputs beyond it are not
            zero, but nothing else depends on them.
          return_carry, time_major, reverse, keep_order: see the class.

        Returns:
          The outputs, shaped like `inputs` except for the features; if `return_carry`, (last carry,
          outputs), where the last carry is the one after each sequence's last step.

        Raises:
          ArgumentTypeError: `cell` is not a cell, or `seq_lengths` are not integers.
          ShapeError, ArgumentError: `inputs`, `initial_carry` or `seq_lengths` doesn't fit.
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        cell = checked_cell(self.cell, RNNCellBase, "features", "LSTMCell(features)")
        integer(self.unroll, "unroll", least=1)

        inputs = as_array(inputs)
        shape = inputs.shape
        time_axis, batch_axes = axes_of(shape, cell.num_feature_axes, time_major)
        batch = tuple(shape[axis] for axis in batch_axes)
        lengths = None
        if seq_lengths is not None:
            lengths = checked_lengths(seq_lengths, batch, shape[time_axis])
        if initial_carry is None:
            key = jax.random.key(0) if init_key is None else init_key
            step_shape = (*shape[:time_axis], *shape[time_axis + 1 :])
            initial_carry = cell.initialize_carry(key, step_shape)

        if reverse:
            inputs = flip_sequences(inputs, lengths, len(batch), time_major)
        last_of = lengths if return_carry else None
        done = self._at_once(cell, initial_carry, inputs, time_axis, last_of)
        if done is None:
            done = self._step_by_step(cell, initial_carry, inputs, time_axis, last_of)
        carry, outputs = done
        if reverse and keep_order:
            outputs = jax.tree.map(
                lambda y: flip_sequences(y, lengths, len(batch), time_major), outputs
            )
        return (carry, outputs) if return_carry else outputs

    def _at_once(
        self, cell: RNNCellBase, carry: object, inputs: Array, time_axis: int, lengths: Array | None
    ) -> Any:
        """The result of `cell.sequence`, or None if single steps are required."""
        plain = (
            not self.variable_axes
            and self.variable_broadcast == "params"
            and not self.variable_carry
            and dict(self.split_rngs) == {"params": False}
        )
        # An interceptor expects calls to the cell.
        if not plain or context.interceptors or not does_sequences(type(cell)):
            return None
        done = cell.sequence(
            carry, jnp.moveaxis(inputs, time_axis, 0), lengths=lengths, unroll=self.unroll
        )
        if done is None:
            return None
        carry, outputs = done
        return carry, jax.tree.map(lambda y: jnp.moveaxis(y, 0, time_axis), outputs)

    def _step_by_step(
        self, cell: RNNCellBase, carry: Carry, inputs: Array, time_axis: int, lengths: Array | None
    ) -> object:
        lifted: dict[str, Any] = {
            "variable_axes": self.variable_axes,
            "variable_broadcast": self.variable_broadcast,
            "variable_carry": self.variable_carry,
            "split_rngs": self.split_rngs,
            "unroll": known_unroll(self.unroll, inputs.shape[time_axis]),
            "out_axes": time_axis,
        }
        carry = laid_out_as(inputs, time_axis, carry, cell.num_feature_axes)
        if lengths is None:
            return scan(_step, in_axes=time_axis, **lifted)(cell, carry, inputs)

        def step(cell: Any, carries: Carry, x: Array, t: Array) -> Any:
            # `last` stays fixed once a sequence has ended.
            before, last = carries
            carry, y = cell(before, x)
            carry = as_before(carry, before)
            last = jax.tree.map(lambda new, old: choose(t < lengths, new, old), carry, last)
            return (carry, last), y

        run = scan(step, in_axes=(time_axis, 0), **lifted)
        steps = jnp.arange(inputs.shape[time_axis], dtype=lengths.dtype)
        (_, last), outputs = run(cell, (carry, carry), inputs, steps)
        return last, outputs


def _step(cell: Any, carry: object, x: Array) -> object:
    after, y = cell(carry, x)
    return as_before(after, carry), y
