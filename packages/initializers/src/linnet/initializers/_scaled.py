"""Variance scaling: random numbers with a variance that depends on the shape of the weights.

    Var(x) = scale / n        n: the fan: the number of inputs, of outputs, or their mean

A layer y = x·W sums `fan_in` products, so weights of variance 1 / fan_in preserve the variance of
the signal. Everything here is one function of `scale`, the choice of n, and the distribution.

The axes of a shape are inputs (`in_axis`), outputs (`out_axis`), a batch of separate layers
(`batch_axis`), or else the receptive field of a convolution, which counts toward both fans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from . import _checks as checks
from ._recipe import Recipe, Shape

Axes = int | Sequence[int]

_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


class _Scaled(Recipe):
    """Draws with the function of `jax.nn.initializers` that has the factory's name."""

    __slots__ = ()

    def _folds(self, dtype: np.dtype[Any]) -> bool:
        # erfinv(u) · √2 · stddev; a truncated one is clipped in between.
        normal = self._arguments.get("distribution", "") == "normal"
        return normal or bool(jnp.issubdtype(dtype, jnp.complexfloating))

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype[Any], **placed: Any) -> Array:
        arguments = dict(self._arguments)
        for name in ("in_axis", "out_axis", "batch_axis"):
            checks.has_axes(self, name, arguments[name], shape)
        checks.drawable(self, dtype, in_complex=True)
        checks.key_of(self, key)
        if 0 in shape:  # A fan may be zero, but no entry is divided by it.
            return jax.nn.initializers.zeros(key, shape, dtype, **placed)
        # JAX 0.6.2 rejects one dimension even if every axis exists, so it gets a second one.
        padded = shape + (1,) * (2 - len(shape))
        for name in ("in_axis", "out_axis", "batch_axis"):
            arguments[name] = _from_the_front(arguments[name], len(shape))
        draw = getattr(jax.nn.initializers, self.__name__)(**arguments)
        drawn: Array = draw(key, padded, dtype, **placed)
        return drawn if padded == shape else drawn.reshape(shape)


def _from_the_front(axes: int | tuple[int, ...], rank: int) -> int | tuple[int, ...]:
    return axes % rank if isinstance(axes, int) else tuple(a % rank for a in axes)


def _scaled(
    name: str,
    in_axis: Axes,
    out_axis: Axes,
    batch_axis: Axes,
    dtype: DTypeLike | None,
    **arguments: object,
) -> Recipe:
    arguments["in_axis"] = checks.axes(name, "in_axis", in_axis)
    arguments["out_axis"] = checks.axes(name, "out_axis", out_axis)
    arguments["batch_axis"] = checks.axes(name, "batch_axis", batch_axis)
    return _Scaled(name, arguments, dtype)


def variance_scaling(
    scale: object,
    mode: Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"],
    distribution: Literal["truncated_normal", "normal", "uniform"],
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """Mean zero and standard deviation √(scale / n), where n depends on the shape of the weights.

    Args:
      scale: the variance times n.
      mode: the meaning of n: "fan_in" (inputs), "fan_out" (outputs), "fan_avg" (their mean) or
        "fan_geo_avg" (their geometric mean).
      distribution: "normal"; "truncated_normal", cut off at two standard deviations and widened to
        compensate; or "uniform": on an interval, or on a disk if the dtype is complex.
      in_axis: axis or axes of inputs; default: the second to last.
      out_axis: axis or axes of outputs; default: the last.
      batch_axis: axis or axes left out of n; default: none.
      dtype: the default dtype of calls; floating or complex.

    Returns:
      An initializer of shapes with at least two dimensions, or with the given axes.

    Raises:
      TypeError: an axis is not an int.
      ValueError: `scale` is negative or not finite; `mode` or `distribution` is unknown.

    >>> import jax
    >>> initializer = variance_scaling(2.0, "fan_in", "normal")
    >>> initializer
    variance_scaling(2.0, 'fan_in', 'normal')
    >>> kernel = initializer(jax.random.key(0), (3, 3, 32, 64))  # n = 3 · 3 · 32
    >>> f"{kernel.std():.2f}"  # √(2 / 288)
    '0.08'
    """
    who = "variance_scaling"
    return _scaled(
        who,
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        scale=checks.spread(who, "scale", scale),
        mode=checks.choice(who, "mode", mode, _MODES),
        distribution=checks.choice(who, "distribution", distribution, _DISTRIBUTIONS),
    )


def lecun_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """LeCun normal: Var(x) = 1 / fan_in, truncated normal.

    Draws like `variance_scaling(1.0, "fan_in", "truncated_normal")`, which documents the options.
    LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp".

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     lecun_normal()(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 1.17 ,  1.378],
           [-0.332, -0.06 ]], dtype=float32)
    """
    return _scaled("lecun_normal", in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """LeCun uniform: x ~ U(-a, a), a = √(3 / fan_in).

    Draws like `variance_scaling(1.0, "fan_in", "uniform")`, which documents the options.
    LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp".

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     lecun_uniform()(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 1.097,  1.172],
           [-0.411, -0.077]], dtype=float32)
    """
    return _scaled("lecun_uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """Glorot normal: Var(x) = 2 / (fan_in + fan_out), truncated normal.

    Draws like `variance_scaling(1.0, "fan_avg", "truncated_normal")`, which documents the options.
    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward networks".

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     glorot_normal()(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 1.17 ,  1.378],
           [-0.332, -0.06 ]], dtype=float32)
    """
    return _scaled("glorot_normal", in_axis, out_axis, batch_axis, dtype)


def glorot_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """Glorot uniform: x ~ U(-a, a), a = √(6 / (fan_in + fan_out)).

    Draws like `variance_scaling(1.0, "fan_avg", "uniform")`, which documents the options.
    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward networks".

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     glorot_uniform()(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 1.097,  1.172],
           [-0.411, -0.077]], dtype=float32)
    """
    return _scaled("glorot_uniform", in_axis, out_axis, batch_axis, dtype)


def he_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """He normal: Var(x) = 2 / fan_in, truncated normal.

    Draws like `variance_scaling(2.0, "fan_in", "truncated_normal")`, which documents the options.
    He, Zhang, Ren & Sun 2015, arXiv:1502.01852.

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     he_normal()(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 1.655,  1.949],
           [-0.469, -0.085]], dtype=float32)
    """
    return _scaled("he_normal", in_axis, out_axis, batch_axis, dtype)


def he_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = jnp.float64,
) -> Recipe:
    """He uniform: x ~ U(-a, a), a = √(6 / fan_in).

    Draws like `variance_scaling(2.0, "fan_in", "uniform")`, which documents the options.
    He, Zhang, Ren & Sun 2015, arXiv:1502.01852.

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     he_uniform()(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 1.551,  1.658],
           [-0.581, -0.109]], dtype=float32)
    """
    return _scaled("he_uniform", in_axis, out_axis, batch_axis, dtype)


# The same functions, named after their authors' first names.
xavier_normal = glorot_normal
xavier_uniform = glorot_uniform
kaiming_normal = he_normal
kaiming_uniform = he_uniform
