"""What running a cell over a sequence takes, in both styles of modules."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.module_core.errors import ShapeError

from ._defaults import Array


def axes_of(shape: tuple[int, ...], features: int, time_major: bool) -> tuple[int, range]:
    """Which dimension is time, and which are the batch."""
    rank = len(shape) - features - 1
    if rank < 0:
        order = "(time, *batch, *features)" if time_major else "(*batch, time, *features)"
        raise ShapeError(
            f"inputs have shape {shape}, expected {order} with {features} feature dimension(s): at "
            f"least {features + 1} dimensions.",
            hint="For a single step, call the cell itself.",
        )
    return (0, range(1, rank + 1)) if time_major else (rank, range(rank))


def choose(running: Array, new: Array, old: Array) -> Array:
    """Of each sequence the new entry of a carry while it is running, then the old one.

    Raises:
      ShapeError: the entry has no batch dimensions.
    """
    if new.shape[: running.ndim] != running.shape:
        raise ShapeError(
            f"an entry of the carry has shape {new.shape}, expected (*batch, ...) with the batch "
            f"{running.shape}: seq_lengths choose an entry for each sequence.",
            hint="Leave out return_carry or seq_lengths, or give the entry batch dimensions.",
        )
    return jnp.where(running.reshape(*running.shape, *(1,) * (new.ndim - running.ndim)), new, old)


def does_sequences(cls: type) -> bool:
    """Whether a class of cells defines `sequence` for the very step that it defines."""
    stepping = next(c for c in cls.__mro__ if "__call__" in vars(c))
    return "sequence" in vars(stepping)
