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


def require_output(positions: Shape, spatial: Shape, window: Shape, what: str) -> None:
    """Refuses a window that fits nowhere: a result over no positions would be silently wrong.

    Args:
      positions: of the output.
      spatial: the sizes of the inputs' spatial dimensions; inputs without positions are taken.
      window: its size.
      what: whose window it is.

    Raises:
      ShapeError: the output has no positions, though the inputs have some.
    """
    if 0 in positions and 0 not in spatial:
        raise ShapeError(
            f"the {what} window of size {window} fits nowhere into inputs of {spatial} positions: "
            f"the output would be empty, of {positions} positions.",
            hint="Use a smaller window or dilation, more padding (padding='SAME'), or larger "
            "inputs: (*batch, *spatial, channels), channels last.",
        )


def channels_first(shape: Shape, rank: int, features: int) -> str | None:
    """What to do about inputs whose channels are before their spatial dimensions, if they are.

    Args:
      shape: of the inputs.
      rank: of the window.
      features: how many channels are expected, in the last dimension.
    """
    if len(shape) <= rank or shape[-1] == features or shape[-1 - rank] != features:
        return None
    return (
        f"Channels come last: inputs are (*batch, *spatial, channels), and these have their "
        f"{features} channels in dimension {len(shape) - 1 - rank}. Move them: "
        f"jnp.moveaxis(x, {-1 - rank}, -1)."
    )
