"""Checks the arguments of a norm before JAX does, with errors that say how to fix them."""

from __future__ import annotations

import numpy as np
from jax import lax

from linnet.module_core.errors import ShapeError, UnboundAxisError
from linnet.module_core.layers import Array, Axes, AxisName, Shape, as_array, axes_of, fraction


def as_mask(mask: object, shape: Shape) -> Array:
    """`mask` as booleans of the given shape.

    Raises:
      ShapeError: it cannot be broadcast to that shape.
    """
    mask = as_array(mask, "mask")
    allowed: Array = mask
    missing = len(shape) - mask.ndim
    fits = missing >= 0 and all(
        m in (1, n) for m, n in zip(mask.shape, shape[missing:], strict=True)
    )
    if not fits:
        raise ShapeError(
            f"mask has shape {mask.shape}, expected a shape that broadcasts to the inputs' "
            f"{shape}.",
            hint="Is a dimension of size 1 missing? For inputs [B, T, D] and one mask value for "
            "each time step, pass mask[:, :, None].",
        )
    if allowed.dtype != np.bool_:
        allowed = lax.ne(mask, lax.full_like(mask, 0))
    if mask.shape == shape:
        return allowed
    ones = tuple(i for i, m in enumerate(mask.shape) if m == 1 and shape[missing + i] != 1)
    kept = tuple(missing + i for i in range(mask.ndim) if i not in ones)
    return lax.broadcast_in_dim(lax.squeeze(allowed, ones), shape, kept)  # [*shape]


def is_bound(axis_name: AxisName) -> bool:
    """Whether an axis of this name, or each of these, is being mapped over."""
    try:
        lax.psum(1, axis_name)  # type: ignore[no-untyped-call]  # of a Python number: a constant, not a collective
    except NameError:
        return False
    return True


def require_bound(axis_name: AxisName) -> None:
    """Checks that `axis_name` is being mapped over.

    Raises:
      UnboundAxisError: it is not.
    """
    if not is_bound(axis_name):
        raise UnboundAxisError(
            f"axis_name={axis_name!r} is not the name of an axis that is being mapped over here.",
            hint=f"Call it inside jax.vmap(..., axis_name={axis_name!r}), jax.pmap or "
            "jax.shard_map with an axis of this name. On one device, or under plain jax.jit with "
            "sharded arrays, leave axis_name out.",
        )


def feature_shape(shape: Shape, feature_axes: Axes = -1, name: str = "feature_axes") -> Shape:
    """The shape of scale and bias: that of the inputs along `feature_axes`, in ascending order.

    Args:
      shape: shape of the inputs.
      feature_axes: the dimensions along which scale and bias differ.
      name: the name of these dimensions in an error.

    Raises:
      ArgumentError: an axis is out of range or named twice.

    >>> feature_shape((8, 5, 6, 7), (-1, 1))
    (5, 7)
    """
    return tuple(shape[i] for i in axes_of(feature_axes, len(shape), name))


def check_momentum(momentum: object) -> None:
    """Checks that a momentum is within [0, 1]; a traced one cannot be checked.

    Raises:
      ArgumentTypeError: it isn't a number.
      ArgumentError: it is outside [0, 1].
    """
    fraction(
        momentum,
        "momentum",
        hint="It is the weight of the old average: 0.99 by default, 0.9 to adapt faster.",
    )
