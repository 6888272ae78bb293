"""`Bidirectional`: two RNNs over a sequence, one from each end, as a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from linnet.layers_recurrent._directions import concatenate, pair_of_carries, require_two
from linnet.module_core.accepted import accepted
from linnet.module_core.layers import Array
from linnet.module_core.linen import Module
from linnet.module_core.typing import Output

from .cell import RNNCellBase


class Bidirectional(Module):
    """Runs one RNN from each end of a sequence and merges their outputs.

    Args:
      forward_rnn: runs from the first step to the last.
      backward_rnn: runs from the last step to the first; its outputs are returned in the order of
        the inputs.
      merge_fn: (forward outputs, backward outputs) -> outputs, for each leaf of the outputs;
        concatenates along the features by default.
      time_major: see `RNN`.
      return_carry: see `RNN`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_recurrent.linen import RNN, GRUCell
    >>> layer = Bidirectional(RNN(GRUCell(4)), RNN(GRUCell(4)))
    >>> x = jnp.ones((2, 5, 3))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> layer.apply(variables, x).shape
    (2, 5, 8)
    """

    forward_rnn: Any
    backward_rnn: Any
    merge_fn: Callable[[Any, Any], Any] = concatenate
    time_major: bool = False
    return_carry: bool = False

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
        """Applies both RNNs.

        Args:
          inputs: (*batch, time, *features), or (time, *batch, *features) if `time_major`.
          initial_carry: (forward carry, backward carry); by default made by the cells.
          init_key: random key for the carries that the cells make.
          seq_lengths: integers (*batch), the length of each sequence.
          return_carry, time_major: override the fields.
          reverse, keep_order: have no effect: both directions are always processed, in order.

        Returns:
          The merged outputs; if `return_carry`, ((forward carry, backward carry), outputs).

        Raises:
          ArgumentTypeError: `initial_carry` isn't a pair, or a cell was given instead of an `RNN`.
        """
        accepted(reverse=reverse, keep_order=keep_order)
        time_major = self.time_major if time_major is None else time_major
        return_carry = self.return_carry if return_carry is None else return_carry
        forward_key = backward_key = None
        if init_key is not None:
            forward_key, backward_key = jax.random.split(init_key)
        forward_start, backward_start = pair_of_carries(initial_carry)
        require_two(self.forward_rnn, self.backward_rnn, RNNCellBase, "features")
        options = {
            "seq_lengths": seq_lengths,
            "return_carry": True,
            "time_major": time_major,
        }
        forward_carry, forward = self.forward_rnn(
            inputs,
            initial_carry=forward_start,
            init_key=forward_key,
            reverse=False,
            **options,
        )
        backward_carry, backward = self.backward_rnn(
            inputs,
            initial_carry=backward_start,
            init_key=backward_key,
            reverse=True,
            keep_order=True,
            **options,
        )
        outputs = jax.tree.map(self.merge_fn, forward, backward)
        return ((forward_carry, backward_carry), outputs) if return_carry else outputs
