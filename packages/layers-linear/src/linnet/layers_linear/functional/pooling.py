"""Reductions over windows, channels last.

    y[b, p, d] = reduce_k x[b, p · stride + k - low, d]

B batch (any number of dimensions), p position and k offset in the window, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, counted
from linnet.module_core.layers import Array, PaddingLike, Shape, as_array, integer

from ._batch import require_output, require_spatial
from ._padding import ZERO_PADDINGS, LaxPadding, canonicalize_padding


def pool(
    inputs: Array,
    init: object,
    reduce_fn: Callable[[Array, Array], Array],
    window_shape: Sequence[int],
    strides: Sequence[int] | None,
    padding: PaddingLike,
) -> Array:
    """Reduces each window with `reduce_fn`.

    Not every reduction is differentiable, even if `reduce_fn` is; those of `max_pool`, `min_pool`
    and `avg_pool` are.

    Args:
      inputs: [*batch, *spatial, D].
      init: the initial value of the reduction and the value of the padding.
      reduce_fn: (T, T) -> T, associative.
      window_shape: size of the window in each spatial dimension.
      strides: from one window to the next; None for (1, ..., 1).
      padding: 'SAME', 'VALID', an int for all sides, or an int or (low, high) pair for each
        spatial dimension.

    Returns:
      [*batch, *spatial, D].

    Raises:
      ArgumentError: a window or stride is below 1, the number of strides or paddings doesn't match
        the window, or the padding is unknown.
      ShapeError: `inputs` have too few dimensions for the window.

    >>> import jax.numpy as jnp
    >>> from jax import lax
    >>> pool(jnp.arange(1.0, 5.0).reshape(1, 4, 1), 1.0, lax.mul, (2,), (2,), "VALID")[0, :, 0]
    Array([ 2., 12.], dtype=float32)
    """
    if not isinstance(inputs, jax.Array):
        inputs = as_array(inputs)
    window, steps, lax_padding = _window(window_shape, strides, padding)
    require_spatial(inputs.shape, len(window))
    y = _reduce(inputs, init, reduce_fn, window, steps, lax_padding)
    here = slice(-1 - len(window), -1)
    require_output(y.shape[here], inputs.shape[here], window, "pooling")
    return y


def _window(
    window_shape: Sequence[int], strides: Sequence[int] | None, padding: PaddingLike
) -> tuple[Shape, Shape, LaxPadding]:
    """Window, strides and padding, one entry each for every spatial dimension."""
    window = _sizes(window_shape, "window_shape")
    steps = _sizes(strides, "strides") if strides is not None else (1,) * len(window)
    if len(steps) != len(window):
        raise ArgumentError(
            f"strides={strides!r} has {counted(len(steps), 'entry', 'entries')}, "
            f"window_shape={window_shape!r} has {len(window)}.",
            hint="Pass one stride for each dimension of the window.",
        )
    return window, steps, canonicalize_padding(padding, len(window), ZERO_PADDINGS)


def _sizes(value: Sequence[int], name: str) -> Shape:
    # A single int isn't accepted for all dimensions: only the window determines their number.
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise ArgumentTypeError(
            f"'{name}' must be a sequence of ints, got {value!r} ({type(value).__name__}).",
            hint="Pass one entry for each spatial dimension, e.g. (2, 2) for images.",
        )
    return tuple(integer(v, name, least=1) for v in value)


def _reduce(
    x: Array,
    init: object,
    reduce_fn: Callable[[Array, Array], Array],
    window: Shape,
    steps: Shape,
    padding: LaxPadding,
) -> Array:
    outer = x.ndim - len(window) - 1
    ones = (1,) * outer
    if not isinstance(padding, str):
        padding = [(0, 0)] * outer + padding + [(0, 0)]
    y: Array = lax.reduce_window(
        x, init, reduce_fn, (*ones, *window, 1), (*ones, *steps, 1), padding
    )
    return y


def max_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """The maximum of each window; padding is never the maximum.

    Args:
      inputs: [*batch, *spatial, D].
      window_shape: as for `pool`.
      strides: as for `pool`.
      padding: as for `pool`.

    Returns:
      [*batch, *spatial, D].

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.array([[3.0, 1.0, 2.0, 5.0]]).reshape(1, 4, 1), (2,), (2,))[0, :, 0]
    Array([3., 5.], dtype=float32)
    """
    return pool(inputs, -jnp.inf, lax.max, window_shape, strides, padding)


def min_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """The minimum of each window; padding is never the minimum.

    Args:
      inputs: [*batch, *spatial, D].
      window_shape: as for `pool`.
      strides: as for `pool`.
      padding: as for `pool`.

    Returns:
      [*batch, *spatial, D].

    >>> import jax.numpy as jnp
    >>> min_pool(jnp.array([[3.0, 1.0, 2.0, 5.0]]).reshape(1, 4, 1), (2,), (2,))[0, :, 0]
    Array([1., 2.], dtype=float32)
    """
    return pool(inputs, jnp.inf, lax.min, window_shape, strides, padding)


def avg_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window.

    Args:
      inputs: [*batch, *spatial, D].
      window_shape: as for `pool`.
      strides: as for `pool`.
      padding: as for `pool`.
      count_include_pad: divides by the window's size; if False, by the number of input values in
        it.

    Returns:
      [*batch, *spatial, D].

    >>> import jax.numpy as jnp
    >>> x = jnp.array([2.0, 4.0, 6.0]).reshape(1, 3, 1)
    >>> avg_pool(x, (2,), padding="SAME")[0, :, 0]
    Array([3., 5., 3.], dtype=float32)
    >>> avg_pool(x, (2,), padding="SAME", count_include_pad=False)[0, :, 0]
    Array([3., 5., 6.], dtype=float32)
    """
    sums = pool(inputs, 0.0, lax.add, window_shape, strides, padding)
    if count_include_pad:
        return sums / math.prod(window_shape)
    spatial = np.shape(inputs)[-1 - len(window_shape) : -1]
    counts = pool(jnp.ones((*spatial, 1)), 0.0, lax.add, window_shape, strides, padding)
    counts = lax.reshape(counts, (1,) * (sums.ndim - counts.ndim) + counts.shape)
    common = jnp.promote_types(sums.dtype, counts.dtype)
    return lax.div(sums.astype(common), counts.astype(common))
