"""Checks the arguments of a norm before JAX does, with errors that say how to fix them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

from ._types import Array, Axes, AxisName, Shape


def as_array(x: Any, what: str = "inputs") -> Array:
    """`x` as an array.

    Raises:
      ArgumentTypeError: it is not an array of numbers.
    """
    if isinstance(x, jax.Array):
        return x
    if not _is_numeric(x):
        raise ArgumentTypeError(
            f"{what} must be an array of numbers, got {type(x).__name__}: {str(x)[:40]!r}."
        )
    return jnp.asarray(x)


def _is_numeric(x: Any) -> bool:
    try:
        return np.asarray(x).dtype.kind not in "OSU"
    except ValueError:  # a sequence of unequal parts
        return False


def integer(value: Any, name: str, *, least: int | None = None) -> int:
    """`value` as an int.

    Raises:
      ArgumentTypeError: it is not an integer.
      ArgumentError: it is smaller than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        whole = isinstance(value, float) and value.is_integer()
        raise ArgumentTypeError(
            f"'{name}' must be an integer, got {value!r} ({type(value).__name__}).",
            hint=f"Write {int(value)}, or divide with // where it is computed." if whole else None,
        ) from None
    if least is not None and number < least:
        raise ArgumentError(f"'{name}' must be at least {least}, got {number}.")
    return number


def positive_axes(axes: Axes, rank: int, name: str, what: str = "the inputs") -> Shape:
    """Dimensions counted from the front, in ascending order.

    Raises:
      ArgumentTypeError: one is not an integer.
      ArgumentError: one is out of range or named twice.
    """
    if isinstance(axes, int):
        if -rank <= axes < rank:
            return (axes % rank,)
        given: tuple[int, ...] = (axes,)
    elif isinstance(axes, Sequence | set | frozenset) and not isinstance(axes, str | bytes):
        given = tuple(integer(a, f"{name}[{i}]") for i, a in enumerate(axes))
    else:
        given = (integer(axes, name),)
    for axis in given:
        if not -rank <= axis < rank:
            raise ArgumentError(
                f"{name}={axes!r} is out of range: {what} have {rank} dimensions.",
                hint=f"Valid are {-rank} to {rank - 1}." if rank else None,
            )
    found = {a % rank for a in given}
    if len(found) < len(given):
        raise ArgumentError(
            f"{name}={axes!r} names a dimension of {what}, which have {rank}, twice."
        )
    return tuple(sorted(found))


def as_mask(mask: Any, shape: Shape) -> Array:
    """`mask` as booleans of the given shape.

    Raises:
      ShapeError: it cannot be broadcast to it.
    """
    mask = as_array(mask, "mask")
    allowed: Array = mask
    missing = len(shape) - mask.ndim
    fits = missing >= 0 and all(
        m in (1, n) for m, n in zip(mask.shape, shape[missing:], strict=True)
    )
    if not fits:
        raise ShapeError(
            f"mask has shape {mask.shape}, expected one that broadcasts to the inputs' {shape}.",
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
      ArgumentError: it is not.
    """
    if not is_bound(axis_name):
        raise ArgumentError(
            f"axis_name={axis_name!r} is not the name of an axis that is being mapped over here.",
            hint=f"Call it inside jax.vmap(..., axis_name={axis_name!r}), jax.pmap or "
            "jax.shard_map with an axis of this name. On one device, or under plain jax.jit with "
            "sharded arrays, leave axis_name out.",
        )


def check_momentum(momentum: Any) -> None:
    """Checks that a momentum is within [0, 1]; a traced one cannot be checked.

    Raises:
      ArgumentError: it is outside.
      ArgumentTypeError: it is not a number.
    """
    if isinstance(momentum, jax.Array):
        return
    _number(momentum, "momentum")
    if not 0 <= momentum <= 1:
        raise ArgumentError(
            f"'momentum' must be within [0, 1], got {momentum!r}.",
            hint="It is the weight of the old average: 0.99 by default, 0.9 to adapt faster.",
        )


def not_negative(value: Any, name: str) -> None:
    """Checks that a number is not negative; a traced one cannot be checked.

    Raises:
      ArgumentError: it is negative.
      ArgumentTypeError: it is not a number.
    """
    if isinstance(value, jax.Array):
        return
    _number(value, name)
    if not value >= 0:
        raise ArgumentError(f"'{name}' must not be negative, got {value!r}.")


def _number(value: Any, name: str) -> None:
    if not isinstance(value, int | float | np.number | np.ndarray):
        raise ArgumentTypeError(f"'{name}' must be a number, got {value!r}.")


def feature_shape(shape: Shape, feature_axes: Axes = -1, name: str = "feature_axes") -> Shape:
    """The shape of scale and bias: that of the inputs along `feature_axes`, in ascending order.

    Args:
      shape: of the inputs.
      feature_axes: the dimensions along which scale and bias differ.
      name: the name of these in an error.

    Raises:
      ArgumentError: an axis is out of range or named twice.

    >>> feature_shape((8, 5, 6, 7), (-1, 1))
    (5, 7)
    """
    return tuple(shape[i] for i in positive_axes(feature_axes, len(shape), name))
