"""Supports any number of batch dimensions in convolutions; XLA's convolutions take exactly one.

On one device, all of them are merged. On a mesh, each may be split, but a merged dimension can only
be split like its first part: an array split along another part would be gathered. On a mesh, all
but the first therefore become additional spatial dimensions, along which the window has size 1.
"""

from __future__ import annotations

import math

from jax import lax

from linnet.module_core.errors import ShapeError, counted
from linnet.module_core.layers import Array, Shape
from linnet.module_core.layout import is_on_mesh

MOST_SPATIAL = 3
"""The most spatial dimensions for which CPUs and GPUs have fast convolutions."""


def flatten_batch(x: Array, rank: int, *, merge: bool = False) -> tuple[Array, Shape]:
    """Merges the dimensions before `rank` spatial ones and the features.

    On a mesh, the last E of them stay: as many as a convolution can treat as spatial dimensions.

    Args:
      x: [*batch, *spatial, D].
      rank: number of spatial dimensions.
      merge: merges all batch dimensions on a mesh as well.

    Returns:
      [B, *E, *spatial, D], and the merged dimensions to give to `restore_batch`.

    Raises:
      ShapeError: `x` has fewer than `rank` + 1 dimensions.
    """
    require_spatial(x.shape, rank)
    count = x.ndim - rank - 1
    if count > 1 and not merge and is_on_mesh(x):
        count = max(count - max(MOST_SPATIAL - rank, 0), 1)
    batch = x.shape[:count]
    if count == 1:
        return x, batch
    return lax.reshape(x, (math.prod(batch), *x.shape[count:])), batch  # [B, *E, *spatial, D]


def restore_batch(y: Array, batch: Shape) -> Array:
    """[B, *E, *spatial, F] with the dimensions that were merged: [*batch, *E, *spatial, F]."""
    return y if len(batch) == 1 else lax.reshape(y, (*batch, *y.shape[1:]))


def with_ones(kernel: Array, count: int) -> Array:
    """A kernel with a window of size 1 along `count` more dimensions, before the others."""
    return lax.reshape(kernel, (*(1,) * count, *kernel.shape)) if count else kernel


def require_spatial(shape: Shape, rank: int) -> None:
    """Checks that inputs have enough dimensions for a window.

    Raises:
      ShapeError: `x` has fewer than `rank` + 1 dimensions.
    """
    if len(shape) < rank + 1:
        raise ShapeError(
            f"inputs have shape {shape}, expected (*batch, *spatial, features) with "
            f"{counted(rank, 'spatial dimension')}: at least {counted(rank + 1, 'dimension')}.",
            hint="Channels come last; the batch dimension is optional.",
        )


def require_output(positions: Shape, spatial: Shape, window: Shape, what: str) -> None:
    """Checks that a window fits somewhere: a result without positions would be silently wrong.

    Args:
      positions: the output's positions.
      spatial: the sizes of the inputs' spatial dimensions; inputs without positions are accepted.
      window: the window's size.
      what: the owner of the window, for the message.

    Raises:
      ShapeError: the output has no positions although the inputs have some.
    """
    if 0 in positions and 0 not in spatial:
        raise ShapeError(
            f"the {what} window of size {window} does not fit into inputs of {spatial} "
            f"positions: the output would be empty, with {positions} positions.",
            hint="Use a smaller window or dilation, more padding (padding='SAME'), or larger "
            "inputs: (*batch, *spatial, channels), channels last.",
        )


def channels_first(shape: Shape, rank: int, features: int) -> str | None:
    """A hint if the inputs' channels seem to come before the spatial dimensions.

    Args:
      shape: the inputs' shape.
      rank: the window's rank.
      features: number of channels expected in the last dimension.
    """
    if len(shape) <= rank or shape[-1] == features or shape[-1 - rank] != features:
        return None
    return (
        "Channels come last: inputs are (*batch, *spatial, channels), but these have their "
        f"{counted(features, 'channel')} in dimension {len(shape) - 1 - rank}. Move them:"
        f" jnp.moveaxis(x, {-1 - rank}, -1)."
    )
