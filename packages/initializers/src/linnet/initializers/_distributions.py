"""Independent random numbers of one distribution, whatever the array's shape."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from . import _checks as checks
from ._recipe import Recipe, Shape


class _Random(Recipe):
    """Draws with the function of `jax.nn.initializers` that has the factory's name."""

    __slots__ = ()

    def _folds(self, dtype: np.dtype[Any]) -> bool:
        return self.__name__ == "normal"  # erfinv(u) · √2 · stddev

    def _draw(self, key: object, shape: Shape, dtype: np.dtype[Any], **placed: object) -> Array:
        # Only the normal distribution has a complex form.
        checks.drawable(self, dtype, in_complex=self.__name__ == "normal")
        checks.key_of(self, key)
        draw = getattr(jax.nn.initializers, self.__name__)(**self._arguments)
        result: Array = draw(key, shape, dtype, **placed)
        return result


def uniform(scale: object = 1e-2, dtype: DTypeLike | None = jnp.float64) -> Recipe:
    """Uniformly distributed: x ~ U[0, scale).

    Args:
      scale: upper bound; default 0.01.
      dtype: the default dtype of calls; floating.

    Returns:
      An initializer.

    Raises:
      ValueError: `scale` is negative or not finite.

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     uniform(2.0)(jax.random.key(0), (2, 2), jnp.float32)
    Array([[1.895, 1.957],
           [0.665, 0.937]], dtype=float32)
    """
    return _Random("uniform", {"scale": checks.spread("uniform", "scale", scale)}, dtype)


def normal(stddev: object = 1e-2, dtype: DTypeLike | None = jnp.float64) -> Recipe:
    """Normally distributed: x ~ N(0, stddev²).

    Args:
      stddev: standard deviation; default 0.01.
      dtype: the default dtype of calls; floating or complex.

    Returns:
      An initializer.

    Raises:
      ValueError: `stddev` is negative or not finite.

    >>> import jax, jax.numpy as jnp
    >>> normal(0.5)
    normal(stddev=0.5)
    >>> with jnp.printoptions(precision=3):
    ...     normal(0.5)(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 0.811,  1.013],
           [-0.217, -0.039]], dtype=float32)
    """
    return _Random("normal", {"stddev": checks.spread("normal", "stddev", stddev)}, dtype)


def truncated_normal(
    stddev: object = 1e-2,
    dtype: DTypeLike | None = jnp.float64,
    lower: object = -2.0,
    upper: object = 2.0,
) -> Recipe:
    """Normally distributed between bounds: x = stddev · z, z ~ N(0, 1) given lower < z < upper.

    The standard deviation of the result is smaller than `stddev`, since the tails are missing:
    0.88 times as large between -2 and 2. `variance_scaling` corrects for that; this function does
    not.

    Args:
      stddev: standard deviation before truncation; default 0.01.
      dtype: the default dtype of calls; floating.
      lower: lower bound in standard deviations, applied before the multiplication by `stddev`.
      upper: upper bound, likewise.

    Returns:
      An initializer.

    Raises:
      ValueError: `stddev` is negative or not finite, or `lower` is not below `upper`.

    >>> import jax, jax.numpy as jnp
    >>> with jnp.printoptions(precision=3):
    ...     truncated_normal(0.5)(jax.random.key(0), (2, 2), jnp.float32)
    Array([[ 0.728,  0.857],
           [-0.206, -0.038]], dtype=float32)
    """
    who = "truncated_normal"
    arguments = {
        "stddev": checks.spread(who, "stddev", stddev),
        "lower": checks.real(who, "lower", lower),
        "upper": checks.real(who, "upper", upper),
    }
    checks.ordered(who, "lower", arguments["lower"], "upper", arguments["upper"])
    return _Random(who, arguments, dtype)
