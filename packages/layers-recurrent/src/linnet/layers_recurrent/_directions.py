"""Running over a sequence from both ends: the code that both styles share."""

from __future__ import annotations

import logging
from typing import Any

import jax.numpy as jnp

from linnet.module_core.errors import ArgumentTypeError
from linnet.module_core.layers import Array

_log = logging.getLogger("linnet.layers_recurrent.bidirectional")


def concatenate(forward: Array, backward: Array) -> Array:
    """Both outputs side by side, along the features."""
    return jnp.concatenate([forward, backward], axis=-1)


def pair_of_carries(initial_carry: object) -> tuple[Any, Any]:
    """The carries of both directions, None for a carry that was not given.

    Raises:
      ArgumentTypeError: `initial_carry` isn't a pair.
    """
    if initial_carry is None:
        return None, None
    if not isinstance(initial_carry, tuple | list) or len(initial_carry) != 2:
        raise ArgumentTypeError(
            "initial_carry must be a pair (forward carry, backward carry), got "
            f"{type(initial_carry).__name__}.",
        )
    return initial_carry[0], initial_carry[1]


def require_two(forward_rnn: object, backward_rnn: object, cell_type: type, arguments: str) -> None:
    """Checks that both directions are RNNs, not cells, and warns if they are one object.

    Args:
      forward_rnn: the argument for the forward direction.
      backward_rnn: the argument for the backward direction.
      cell_type: the base class of cells of this style.
      arguments: the constructor arguments of a cell, for the hint.

    Raises:
      ArgumentTypeError: one is a cell, or a class.
    """
    if forward_rnn is backward_rnn:
        _log.warning(
            "forward_rnn and backward_rnn are the same object: they share their parameters."
        )
    for name, rnn in (("forward_rnn", forward_rnn), ("backward_rnn", backward_rnn)):
        if isinstance(rnn, cell_type | type):
            cls = rnn if isinstance(rnn, type) else type(rnn)
            if issubclass(cls, cell_type):
                hint = f"For example RNN({cls.__name__}({arguments}))."
            else:
                hint = f"That is the class: pass an instance, {cls.__name__}(...)."
            raise ArgumentTypeError(
                f"{name} must be an RNN, which runs a cell over a sequence, got {cls.__name__}.",
                hint=hint,
            )
