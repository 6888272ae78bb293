"""Running a cell over a sequence: the code that both styles share."""

from __future__ import annotations

from typing import TypeVar

import jax.numpy as jnp

from linnet.module_core.errors import ArgumentTypeError, ShapeError, counted
from linnet.module_core.layers import Array

C = TypeVar("C")


def checked_cell(cell: object, base: type[C], arguments: str, example: str) -> C:
    """Checks that a cell can run over a sequence: it is callable and has `num_feature_axes`.

    Args:
      cell: the user's argument.
      base: the class of cells of this style; a suitable module of another class works as well.
      arguments: the constructor arguments of a cell, for the hint.
      example: code that makes a cell, for the hint.

    Raises:
      ArgumentTypeError: `cell` is not a cell.
    """
    if isinstance(cell, base):
        return cell
    if isinstance(cell, type):
        raise ArgumentTypeError(
            f"RNN needs a cell, got the class {cell.__name__}.",
            hint=f"Make one: RNN({cell.__name__}({arguments})).",
        )
    if callable(cell) and hasattr(cell, "num_feature_axes"):
        return cell  # type: ignore[return-value]  # a cell by its methods
    raise ArgumentTypeError(
        f"RNN needs a cell, got {type(cell).__name__}: {cell!r:.60}.",
        hint="A cell is an instance of a subclass of RNNCellBase, e.g. "
        f"{example}, or a module with __call__(carry, inputs), initialize_carry and "
        "num_feature_axes.",
    )


def axes_of(shape: tuple[int, ...], features: int, time_major: bool) -> tuple[int, range]:
    """The time dimension, and the batch dimensions."""
    rank = len(shape) - features - 1
    if rank < 0:
        order = "(time, *batch, *features)" if time_major else "(*batch, time, *features)"
        raise ShapeError(
            f"inputs have shape {shape}, expected {order} with "
            f"{counted(features, 'feature dimension')}: at least"
            f" {counted(features + 1, 'dimension')}.",
            hint="For a single step, call the cell itself.",
        )
    return (0, range(1, rank + 1)) if time_major else (rank, range(rank))


def choose(running: Array, new: Array, old: Array) -> Array:
    """For each sequence, the new entry of a carry while it runs, and the old one afterwards.

    Raises:
      ShapeError: the entry has no batch dimensions.
    """
    if new.shape[: running.ndim] != running.shape:
        raise ShapeError(
            f"an entry of the carry has shape {new.shape}, expected (*batch, ...) with the batch "
            f"{running.shape}: seq_lengths select an entry for each sequence.",
            hint="Leave out return_carry or seq_lengths, or give the entry batch dimensions.",
        )
    return jnp.where(running.reshape(*running.shape, *(1,) * (new.ndim - running.ndim)), new, old)


def does_sequences(cls: type) -> bool:
    """Whether a class of cells defines `sequence` for the same step as its `__call__`."""
    stepping = next(c for c in cls.__mro__ if "__call__" in vars(c))
    return "sequence" in vars(stepping)


def known_unroll(unroll: int, steps: object) -> int:
    """The number of steps in one iteration of a loop.

    In an exported program, the total number of steps may be unknown. As it may then be smaller
    than `unroll`, or not a multiple of it, each iteration takes one step.
    """
    return unroll if isinstance(steps, int) else 1
