"""Reversing sequences in time, with the padding kept at the end.

B batch, T time.
"""

from __future__ import annotations

import jax.numpy as jnp

from linnet.module_core.errors import ShapeError, counted
from linnet.module_core.layers import Array
from linnet.module_core.layout import like

from ._lengths import checked_lengths


def flip_sequences(
    inputs: Array, seq_lengths: object, num_batch_dims: int, time_major: bool
) -> Array:
    """Reverses sequences: step t of a sequence of length n becomes step n - 1 - t.

    The padding after a sequence's end is reversed in place, so two flips cancel.

    Args:
      inputs: [*batch, T, ...], or [T, *batch, ...] if `time_major`.
      seq_lengths: [*batch], or None if all have T steps.
      num_batch_dims: number of batch dimensions.
      time_major: whether time comes first.

    Returns:
      An array like `inputs`.

    Raises:
      ShapeError: `inputs` has too few dimensions, or `seq_lengths` doesn't have the batch's shape.
      ArgumentTypeError, ArgumentError: `seq_lengths` are not valid lengths.

    >>> import jax.numpy as jnp
    >>> flip_sequences(jnp.array([[1, 2, 3, 0]]), jnp.array([3]), 1, time_major=False)
    Array([[3, 2, 1, 0]], dtype=int32)
    """
    if inputs.ndim <= num_batch_dims:
        raise ShapeError(
            f"inputs have shape {inputs.shape}, expected "
            f"{counted(num_batch_dims, 'batch dimension')} and a time dimension."
        )
    time_axis = 0 if time_major else num_batch_dims
    if seq_lengths is None:
        return jnp.flip(inputs, axis=time_axis)
    time = inputs.shape[time_axis]
    shape = inputs.shape[: num_batch_dims + 1]
    batch = shape[1:] if time_major else shape[:-1]
    lengths = checked_lengths(seq_lengths, batch, time)
    if time == 0:
        return inputs
    backwards = jnp.arange(time - 1, -1, -1, dtype=lengths.dtype)
    backwards = backwards.reshape(-1, *(1,) * (len(batch) if time_major else 0))
    index = (backwards + jnp.expand_dims(lengths, time_axis)) % time  # [*batch, T] or [T, *batch]
    index = index.reshape(*index.shape, *(1,) * (inputs.ndim - index.ndim))
    return jnp.take_along_axis(inputs, like(index, inputs), axis=time_axis)
