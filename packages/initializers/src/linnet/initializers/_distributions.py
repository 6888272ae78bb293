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

    def _draw(self, key: object, shape: Shape, dtype: np.dtype[Any], **placed: Any) -> Array:
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
      dtype: what to draw in where a call does not say; floating.

    Returns:
      An initializer.

    Raises:
      ValueError: `scale` is negative or not finite.

    >>> import jax, jax.numpy as jnp
    >>> initializer = uniform(10.0)
    >>> with jax.threefry_partitionable(False), jnp.printoptions(precision=3):
    ...     initializer(jax.random.key(42), (2, 3), jnp.float32)
    Array([[7.298, 8.692, 8.723],
           [2.082, 1.866, 5.502]], dtype=float32)
    """
    return _Random("uniform", {"scale": checks.spread("uniform", "scale", scale)}, dtype)


def normal(stddev: object = 1e-2, dtype: DTypeLike | None = jnp.float64) -> Recipe:
    """Normally distributed: x ~ N(0, stddev²).

    Args:
      stddev: standard deviation; default 0.01.
      dtype: what to draw in where a call does not say; floating or complex.

    Returns:
      An initializer.

    Raises:
      ValueError: `stddev` is negative or not finite.

    >>> import jax, jax.numpy as jnp
    >>> initializer = normal(5.0)
    >>> initializer
    normal(stddev=5.0)
    >>> with jax.threefry_partitionable(False), jnp.printoptions(precision=3):
    ...     initializer(jax.random.key(42), (2, 3), jnp.float32)
    Array([[ 3.061,  5.613,  5.687],
           [-4.064, -4.452,  0.631]], dtype=float32)
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
    0.88 times as large between -2 and 2. `variance_scaling` corrects for that, this does not.

    Args:
      stddev: standard deviation before truncation; default 0.01.
      dtype: what to draw in where a call does not say; floating.
      lower: lower bound in standard deviations: applied before the multiplication by `stddev`.
      upper: upper bound, likewise.

    Returns:
      An initializer.

    Raises:
      ValueError: `stddev` is negative or not finite, or `lower` is not below `upper`.

    >>> import jax, jax.numpy as jnp
    >>> initializer = truncated_normal(5.0)
    >>> with jax.threefry_partitionable(False), jnp.printoptions(precision=3):
    ...     initializer(jax.random.key(42), (2, 3), jnp.float32)
    Array([[ 2.905,  5.234,  5.299],
           [-3.836, -4.192,  0.602]], dtype=float32)
    """
    who = "truncated_normal"
    arguments = {
        "stddev": checks.spread(who, "stddev", stddev),
        "lower": checks.real(who, "lower", lower),
        "upper": checks.real(who, "upper", upper),
    }
    checks.ordered(who, "lower", arguments["lower"], "upper", arguments["upper"])
    return _Random(who, arguments, dtype)
