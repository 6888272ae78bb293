"""Batches of sequences of unequal lengths, padded at the end.

T time; lengths has the shape of the batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError, counted
from linnet.module_core.layers import Array, Shape
from linnet.module_core.layout import like


def checked_lengths(lengths: Any, batch: Shape, time: int) -> Array:
    """`lengths` as an array of integers in the shape of the batch.

    Raises:
      ShapeError: it has a different shape.
      ArgumentTypeError: it does not hold integers.
      ArgumentError: a length is negative or greater than T (not checked for tracers).
    """
    if isinstance(lengths, list | tuple | int):
        lengths = np.asarray(lengths)
    dtype = getattr(lengths, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        came = type(lengths).__name__ if dtype is None else f"dtype {dtype}"
        raise ArgumentTypeError(
            f"seq_lengths must be an array of integers, got {came}.",
            hint=(
                "It holds the number of steps of each sequence; to convert a mask, sum it over "
                "time."
            ),
        )
    if lengths.shape != batch:
        raise ShapeError(
            f"seq_lengths has shape {lengths.shape}, expected the batch's {batch}.",
            hint="It holds one length for each sequence. Is the time dimension where it should be?",
        )
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        known = np.asarray(lengths)
        least, most = int(known.min()), int(known.max())
        if least < 0 or most > time:
            raise ArgumentError(
                f"seq_lengths must be between 0 and the {counted(time, 'step')} of the inputs, "
                f"got {least if least < 0 else most}."
            )
    return jnp.asarray(lengths)


def at_last_step(history: Array, lengths: Array, initial: Array) -> Array:
    """The entries of `history` [T, *batch, ...] at the last step of each sequence: [*batch, ...].

    A sequence without steps gets its entry from `initial`.
    """
    time = history.shape[0]
    if time == 0:
        return initial
    tail = (1,) * (history.ndim - 1 - lengths.ndim)
    lengths = lengths.reshape(*lengths.shape, *tail)  # [*batch, 1, ...]
    index = jnp.clip(lengths - 1, 0, time - 1)
    last = jnp.take_along_axis(history, like(index[None], history), axis=0)[0]
    return jnp.where(lengths > 0, last, initial)
