"""`Bidirectional`: two RNNs over a sequence, one from each end, as a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from linnet.layers_recurrent._directions import concatenate, pair_of_carries, require_two
from linnet.module_core.accepted import accepted
from linnet.module_core.layers import Array
from linnet.module_core.layers.nnx import Layer
from linnet.module_core.nnx import Rngs, RngStream
from linnet.module_core.typing import Output

from .cell import RNNCellBase
from .rnn import carry_stream


class Bidirectional(Layer):
    """Runs one RNN from each end of a sequence and merges their outputs.

    Args:
      forward_rnn: runs from the first step to the last.
      backward_rnn: runs from the last step to the first; its outputs are returned in the order of
        the inputs.
      merge_fn: (forward outputs, backward outputs) -> outputs, for each leaf of the outputs;
        concatenates along the features by default.
      time_major: see `RNN`.
      return_carry: see `RNN`.
      rngs: streams that both carries are drawn from (see `RNN`); False for the cells' streams.

    Attributes:
      rngs: an `RngStream`, or None.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.nnx import RNN, GRUCell
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> layer = Bidirectional(RNN(GRUCell(3, 4, rngs=rngs)), RNN(GRUCell(3, 4, rngs=rngs)))
    >>> layer(jnp.ones((2, 5, 3))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        forward_rnn: Callable[..., Any],
        backward_rnn: Callable[..., Any],
        *,
        merge_fn: Callable[[Any, Any], Any] = concatenate,
        time_major: bool = False,
        return_carry: bool = False,
        rngs: Rngs | RngStream | bool = True,
    ) -> None:
        require_two(forward_rnn, backward_rnn, RNNCellBase, "in_features, features, rngs=rngs")
        self.forward_rnn = forward_rnn
        self.backward_rnn = backward_rnn
        self.merge_fn = merge_fn
        self.time_major = time_major
        self.return_carry = return_carry
        self.rngs = carry_stream(rngs)

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: tuple[Any, Any] | None = None,
        rngs: Rngs | RngStream | None = None,
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
          rngs: streams that these are drawn from, of which 'carry' is used, or one stream.
          seq_lengths: integers (*batch), the length of each sequence.
          return_carry, time_major: override the attributes.
          reverse, keep_order: have no effect: both directions are always processed, in order.

        Returns:
          The merged outputs; if `return_carry`, ((forward carry, backward carry), outputs).

        Raises:
          ArgumentTypeError: `initial_carry` isn't a pair.
        """
        accepted(reverse=reverse, keep_order=keep_order)
        return_carry = self.return_carry if return_carry is None else return_carry
        forward_start, backward_start = pair_of_carries(initial_carry)
        if rngs is None:
            rngs = self.rngs
        options = {
            "rngs": rngs["carry"] if isinstance(rngs, Rngs) else rngs,
            "seq_lengths": seq_lengths,
            "return_carry": True,
            "time_major": self.time_major if time_major is None else time_major,
        }
        forward_carry, forward = self.forward_rnn(
            inputs, initial_carry=forward_start, reverse=False, **options
        )
        backward_carry, backward = self.backward_rnn(
            inputs, initial_carry=backward_start, reverse=True, keep_order=True, **options
        )
        outputs = jax.tree.map(self.merge_fn, forward, backward)
        return ((forward_carry, backward_carry), outputs) if return_carry else outputs
