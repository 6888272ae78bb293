"""Initializers with orthogonal matrices, for dense layers and convolutions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from . import _checks as checks
from ._recipe import Recipe, Shape


class _Orthogonal(Recipe):
    """Draws with the function of `jax.nn.initializers` that has the factory's name."""

    __slots__ = ()

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype[Any], **placed: object) -> Array:
        delta = self.__name__ == "delta_orthogonal"
        (checks.is_convolution if delta else checks.has_two_dimensions)(self, shape)
        matrix = shape[-2:] if delta else shape
        checks.has_axes(self, "column_axis", self._arguments["column_axis"], matrix)
        checks.drawable(self, dtype, in_complex=True)
        checks.key_of(self, key)
        if placed:
            raise TypeError(
                f"{self}: jax cannot draw orthogonal matrices with out_sharding.\n"
                "  Call jax.device_put on the array instead."
            )
        if 0 in shape:  # An empty window has no center.
            return jax.nn.initializers.zeros(key, shape, dtype)
        draw = getattr(jax.nn.initializers, self.__name__)(**self._arguments)
        # QR decompositions need at least 32 bits; a narrower matrix is a rounded one.
        computed = jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype
        drawn: Array = draw(key, shape, computed)
        return drawn if computed == dtype else drawn.astype(dtype)


def orthogonal(
    scale: object = 1.0, column_axis: int = -1, dtype: DTypeLike | None = jnp.float64
) -> Recipe:
    """Orthogonal matrices, uniformly distributed: XᵀX = scale² · I.

    All axes except `column_axis` together form the rows. If there are more columns than rows, the
    rows are orthogonal: XXᵀ = scale² · I. Saxe, McClelland & Ganguli 2013, arXiv:1312.6120.

    Args:
      scale: length of the orthogonal rows or columns; default 1.
      column_axis: the axis of columns; default: the last.
      dtype: the default dtype of calls; floating or complex.

    Returns:
      An initializer of shapes with at least two dimensions.

    Raises:
      TypeError: `column_axis` is not an int.
      ValueError: `scale` is negative or not finite.

    >>> import jax, jax.numpy as jnp
    >>> matrix = orthogonal()(jax.random.key(0), (2, 2), jnp.float32)
    >>> (matrix @ matrix.T).round(3) + 0.0
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return _orthogonal("orthogonal", scale, column_axis, dtype)


def delta_orthogonal(
    scale: object = 1.0, column_axis: int = -1, dtype: DTypeLike | None = jnp.float64
) -> Recipe:
    """Kernels of convolutions: an orthogonal matrix at the center of the window, zero elsewhere.

    The convolution then keeps the length of every input vector (times `scale`). Xiao, Bahri,
    Sohl-Dickstein, Schoenholz & Pennington 2018, arXiv:1806.05393.

    Args:
      scale: factor by which the matrix is multiplied; default 1.
      column_axis: the matrix's axis of columns; default: the last.
      dtype: the default dtype of calls; floating or complex.

    Returns:
      An initializer of shapes [*window, inputs, outputs] with one to three window dimensions and
      no more inputs than outputs.

    Raises:
      TypeError: `column_axis` is not an int.
      ValueError: `scale` is negative or not finite.

    >>> import jax, jax.numpy as jnp
    >>> kernel = delta_orthogonal()(jax.random.key(0), (5, 2, 3), jnp.float32)
    >>> jnp.abs(kernel).sum(axis=(1, 2)) > 0
    Array([False, False,  True, False, False], dtype=bool)
    >>> (kernel[2] @ kernel[2].T).round(3) + 0.0
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return _orthogonal("delta_orthogonal", scale, column_axis, dtype)


def _orthogonal(name: str, scale: object, column_axis: int, dtype: DTypeLike | None) -> Recipe:
    arguments = {
        "scale": checks.spread(name, "scale", scale),
        "column_axis": checks.axis(name, "column_axis", column_axis),
    }
    return _Orthogonal(name, arguments, dtype)
