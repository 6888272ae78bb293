"""Any number of batch dimensions, none included, as the single one that XLA's convolutions take."""

from __future__ import annotations

import math

from jax import lax

from linnet.module_core.errors import ShapeError

from ._types import Array, Shape


def flatten_batch(x: Array, rank: int) -> tuple[Array, Shape]:
    """Merges all dimensions before `rank` spatial ones and the features.

    Returns:
      [B, *spatial, D], and the batch dimensions to give to `restore_batch`.

    Raises:
      ShapeError: there are fewer than `rank` + 1 dimensions.
    """
    require_spatial(x.shape, rank)
    batch = x.shape[: x.ndim - rank - 1]
    if len(batch) == 1:
        return x, batch
    return lax.reshape(x, (math.prod(batch), *x.shape[len(batch) :])), batch  # [B, *spatial, D]


def restore_batch(y: Array, batch: Shape) -> Array:
    """[B, *spatial, F] with the batch dimensions that there were: [*batch, *spatial, F]."""
    return y if len(batch) == 1 else lax.reshape(y, (*batch, *y.shape[1:]))


def require_spatial(shape: Shape, rank: int) -> None:
    """Refuses inputs with too few dimensions for a window.

    Raises:
      ShapeError: there are fewer than `rank` + 1 dimensions.
    """
    if len(shape) < rank + 1:
        raise ShapeError(
            f"inputs have shape {shape}, expected (*batch, *spatial, features) with {rank} spatial "
            f"dimensions: at least {rank + 1} dimensions.",
            hint="Channels come last; a batch dimension is not needed.",
        )
