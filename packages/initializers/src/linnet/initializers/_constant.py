"""Arrays of one value. The key is ignored and may be None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from . import _checks as checks
from ._recipe import Recipe, Shape


class _Constant(Recipe):
    __slots__ = ()

    @property
    def fills(self) -> Recipe | None:
        """The recipe itself if equal recipes always fill equal arrays: if no value is traced."""
        return self if self._is_static else None

    @property
    def draws(self) -> None:
        """None: nothing is drawn."""
        return None

    def _folds(self, dtype: np.dtype[Any]) -> bool:
        return True  # filling is one operation: a separate program gains nothing, and needs a key

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype[Any], **placed: Any) -> Array:
        value = self._arguments["value"]
        checks.fills(self, value, shape, dtype)
        fill = jax.nn.initializers.constant(value)
        result: Array = fill(key, shape, dtype, **placed)
        return result


def constant(value: ArrayLike, dtype: DTypeLike | None = jnp.float64) -> Recipe:
    """The same value everywhere.

    Args:
      value: a number, or an array that broadcasts to every requested shape.
      dtype: the default dtype of calls; any.

    Returns:
      An initializer.

    Raises:
      TypeError: `value` is neither a number nor an array.

    >>> import jax, jax.numpy as jnp
    >>> constant(0.5)(jax.random.key(0), (2, 2), jnp.float32)
    Array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """
    return _Constant("constant", {"value": checks.fill_value("constant", "value", value)}, dtype)


def zeros(
    key: object,
    shape: Sequence[int],
    dtype: DTypeLike | None = jnp.float64,
    out_sharding: object = None,
) -> Array:
    """Zero everywhere.

    Args:
      key: ignored.
      shape: the array's shape.
      dtype: the array's dtype; any.
      out_sharding: the array's sharding, if `jax.nn.initializers.zeros` takes it.

    Returns:
      [*shape] in `dtype`, or in its 32-bit counterpart if x64 is disabled.

    >>> import jax, jax.numpy as jnp
    >>> zeros(jax.random.key(0), (2, 2), jnp.float32)
    Array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    return _same("zeros", key, shape, dtype, out_sharding)


def ones(
    key: object,
    shape: Sequence[int],
    dtype: DTypeLike | None = jnp.float64,
    out_sharding: object = None,
) -> Array:
    """One everywhere; arguments as in `zeros`.

    >>> import jax, jax.numpy as jnp
    >>> ones(jax.random.key(0), (2, 2), jnp.float32)
    Array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    return _same("ones", key, shape, dtype, out_sharding)


# No key needs to be derived for them, which would take longer than filling an array.
for _fill in (zeros, ones):
    vars(_fill).update(ignores_key=True, fills=_fill)


def zeros_init() -> Callable[..., Array]:
    """Returns `zeros`, for symmetry with the other factories.

    >>> zeros_init() is zeros
    True
    """
    return zeros


def ones_init() -> Callable[..., Array]:
    """Returns `ones`, for symmetry with the other factories.

    >>> ones_init() is ones
    True
    """
    return ones


def _same(
    who: str, key: object, shape: object, dtype: DTypeLike | None, out_sharding: object
) -> Array:
    fill = getattr(jax.nn.initializers, who)
    shape = checks.shape_of(who, shape)
    dtype = jax.dtypes.canonicalize_dtype(checks.dtype_of(who, dtype))
    result: Array = fill(key, shape, dtype, **checks.placed(who, out_sharding))
    return result
