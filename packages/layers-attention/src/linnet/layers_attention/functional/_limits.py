"""Checks the arguments that determine which keys a query sees, and those that change the logits.

B batch (any number of dimensions), Q queries, K keys, H heads.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from linnet.module_core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    ShapeError,
    counted,
)
from linnet.module_core.layers import Array, Shape, as_array, integer

from ._checks import Sizes
from ._visible import Visible

Window: TypeAlias = int | tuple[int | None, int | None] | None


def visible(
    sizes: Sizes,
    mask: Array | None,
    is_causal: bool,
    query_offset: object,
    key_positions: object,
    window: Window,
    segment_ids: object,
    key_segment_ids: object,
) -> Visible:
    """The keys that a query sees, from checked arguments.

    Raises:
      ArgumentError: a window is smaller than 1, or segments are given for the keys alone.
      ArgumentTypeError, DtypeError, ShapeError: an argument has a different type or shape.
    """
    left, right = window_of(window)
    if is_causal:
        right = 1
    of_keys = of_positions = None
    if key_positions is not None:
        of_positions = _integers(key_positions, "key_positions", (*sizes.batch, sizes.keys))
    segments = None
    if segment_ids is not None:
        segments = _integers(segment_ids, "segment_ids", (*sizes.batch, sizes.queries))
        if key_segment_ids is None:
            if sizes.keys != sizes.queries:
                raise ArgumentError(
                    f"segment_ids are those of {counted(sizes.queries, 'query', 'queries')}, not"
                    f" of the {counted(sizes.keys, 'key')}, and key_segment_ids is None.",
                    hint="Pass the segments of the keys as key_segment_ids.",
                )
            of_keys = segments
    if key_segment_ids is not None:
        if segments is None:
            raise ArgumentError(
                "key_segment_ids was given without segment_ids.",
                hint="Pass the segments of the queries as segment_ids.",
            )
        of_keys = _integers(key_segment_ids, "key_segment_ids", (*sizes.batch, sizes.keys))
    offset = _offset(query_offset, sizes.batch)
    return Visible(mask, left, right, offset, of_positions, segments, of_keys)


def window_of(window: Any) -> tuple[int | None, int | None]:
    """The numbers of positions that a query sees to the left and right, each including its own.

    Raises:
      ArgumentError: a number is smaller than 1.
      ArgumentTypeError: the window is not a number, a pair of numbers or None, or None.
    """
    if window is None:
        return None, None
    if not isinstance(window, (tuple, list)):
        return (integer(window, "window", least=1),) * 2
    if len(window) != 2:
        raise ArgumentTypeError(
            f"window must be a number, a pair (left, right), or None, got {window!r}."
        )
    left, right = (
        None if n is None else integer(n, f"window[{i}]", least=1) for i, n in enumerate(window)
    )
    return left, right


def soft_cap_of(value: Any) -> float | None:
    """The bound of the logits, or None.

    Raises:
      ArgumentError: it is not larger than zero.
      ArgumentTypeError: it is not a number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"soft_cap must be a number or None, got {value!r}.")
    if not 0 < value < math.inf:
        raise ArgumentError(
            f"soft_cap={value} must be larger than 0 and finite.",
            hint="Logits are bounded by it in both directions; None leaves them unbounded.",
        )
    return float(value)


def scale_of(value: Any) -> float | Array | None:
    """The factor of the products of queries and keys; None for 1/√D.

    Raises:
      ArgumentTypeError: it is not a number.
      ShapeError: it is an array that is not a scalar.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        raise ArgumentTypeError(f"scale must be a number or None, got {value!r}.")
    array = as_array(value, "scale")
    if array.shape:
        raise ShapeError(f"scale must be a scalar, got shape {array.shape}.")
    return float(value) if isinstance(value, (int, float)) else array


def sinks_of(sinks: object, heads: int) -> Array | None:
    """The sink's logit of each head, or None.

    Raises:
      ShapeError: there isn't one logit for each head.
      DtypeError: the logits are not floating-point numbers.
    """
    if sinks is None:
        return None
    array = as_array(sinks, "sinks")
    if array.shape != (heads,):
        raise ShapeError(
            f"sinks must have the shape ({heads},), got {array.shape}.",
            hint="Each head of the query has one logit.",
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise DtypeError(f"sinks must be floating-point numbers, got dtype {array.dtype}.")
    return array


def _offset(value: Any, batch: Shape) -> int | Array:
    """The position of the first query: a number, a scalar, or an array [*B, 1]."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    array = as_array(value, "query_offset")
    _must_be_integers(array, "query_offset")
    if not array.ndim:
        return array
    _must_broadcast(array, "query_offset", batch, "batch")
    return jnp.expand_dims(array, -1)


def _integers(value: object, name: str, shape: Shape) -> Array:
    array = as_array(value, name)
    _must_be_integers(array, name)
    if not array.ndim or array.shape[-1] != shape[-1]:
        raise _misfit(array, name, shape, "(*batch, length)")
    _must_broadcast(array, name, shape, "(*batch, length)")
    return array


def _must_be_integers(array: Array, name: str) -> None:
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise DtypeError(
            f"{name} must be integers, got dtype {array.dtype}.",
            hint="Convert them first, e.g. with `.astype(jax.numpy.int32)`.",
        )


def _must_broadcast(array: Array, name: str, shape: Shape, what: str) -> None:
    fits = zip(array.shape[::-1], shape[::-1], strict=False)
    if array.ndim > len(shape) or not all(a in (1, b) for a, b in fits):
        raise _misfit(array, name, shape, what)


def _misfit(array: Array, name: str, shape: Shape, what: str) -> ShapeError:
    return ShapeError(
        f"{name} has shape {array.shape}, which doesn't broadcast to {what} = {shape}.",
        hint="They are the same for all heads, and each batch entry may have its own.",
    )


def is_known(x: object) -> bool:
    """Whether the numbers of an array can be read, since no transform traces it."""
    return not isinstance(x, jax.core.Tracer)
