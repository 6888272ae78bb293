"""Spectral normalization (Miyato et al. 2018, arXiv:1802.05957): by the largest singular value.

    W / σ        σ = v W uᴴ, the largest singular value of W once u and v have converged

u and v are unit vectors that power iteration turns toward the singular vectors of σ:

    v ← u Wᴴ / |u Wᴴ|        u ← v W / |v W|

One iteration per training step is enough, since u is kept and W changes little between steps.

Shapes: N rows, F columns of the kernel as a matrix; F features are its last dimension.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax import lax

from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.errors import ShapeError, counted
from linnet.module_core.layers import Array, DTypeLike, as_array, integer, not_negative
from linnet.module_core.layout import automatic, entries_of, layout_of, split

from ._moments import abs_square, common_dtype, constant, is_complex


class SpectralNormed(NamedTuple):
    """A normalized kernel, and the state of the power iteration.

    Attributes:
      kernel: the normalized kernel, in its original shape.
      u: [1, F].
      sigma: the estimate of the largest singular value, a real scalar.
    """

    kernel: Array
    u: Array
    sigma: Array


def spectral_norm(
    kernel: Array,
    u: Array,
    *,
    n_steps: int = 1,
    epsilon: float = 1e-12,
    dtype: DTypeLike | None = None,
    error_on_non_matrix: bool = False,
) -> SpectralNormed:
    """Divides a kernel by its largest singular value, as estimated by power iteration.

    Gradients flow through `kernel`, not through the iteration.

    Args:
      kernel: [N, F], or [..., F], whose leading dimensions are merged.
      u: [1, F], the start of the iteration: random numbers, or the `u` of the last result.
      n_steps: number of iterations.
      epsilon: added to squared lengths before the division.
      dtype: dtype of the normalized kernel; None for the common type of `kernel` and `u`.
      error_on_non_matrix: raises an error for a kernel of more than two dimensions.

    Returns:
      The normalized kernel, the new `u` and the singular value; the latter two have the common type
      of `kernel` and `u`. A kernel of zeros is returned unchanged.

    Raises:
      ShapeError: the kernel has fewer than two dimensions, or more and `error_on_non_matrix` is
        set, or `u` doesn't fit.
      ArgumentError: `n_steps` is less than one, or `epsilon` negative.

    >>> import jax.numpy as jnp
    >>> kernel = jnp.array([[3.0, 0.0], [0.0, 4.0]])
    >>> normed = spectral_norm(kernel, jnp.ones((1, 2)), n_steps=20)
    >>> normed.sigma.round(3)
    Array(4., dtype=float32)
    >>> [f"{w:.2f}" for w in normed.kernel.ravel()]
    ['0.75', '0.00', '0.00', '1.00']
    """
    kernel, u = as_array(kernel, "kernel"), as_array(u, "u")
    integer(n_steps, "n_steps", least=1)
    not_negative(epsilon, "epsilon")
    check_matrix(kernel, error_on_non_matrix=error_on_non_matrix)
    features = kernel.shape[-1]
    if u.shape != (1, features):
        raise ShapeError(
            f"u has shape {u.shape}, expected (1, {features}) for a kernel of shape "
            f"{kernel.shape}.",
            hint="Does it belong to another kernel?",
        )
    kept_dtype = common_dtype(kernel.dtype, u.dtype)
    result_dtype = canonicalize_dtype(dtype=dtype) if dtype is not None else kept_dtype
    # In float32 or wider: bfloat16 products leave two significant digits of the singular value.
    wide = common_dtype(kept_dtype, np.dtype(np.float32))

    def normed(kernel: Array, u: Array) -> SpectralNormed:
        matrix = lax.convert_element_type(kernel, wide)
        matrix = lax.reshape(matrix, (kernel.size // max(features, 1), features))  # [N, F]
        u = lax.convert_element_type(u, wide)
        for _ in range(n_steps):
            v = _unit(lax.dot(u, _adjoint(matrix)), epsilon)  # [1, N]
            u = _unit(lax.dot(v, matrix), epsilon)  # [1, F]
        u, v = lax.stop_gradient(u), lax.stop_gradient(v)
        sigma = lax.reshape(lax.dot(lax.dot(v, matrix), _adjoint(u)), ())
        sigma = lax.real(sigma) if is_complex(wide) else sigma
        is_zero = lax.eq(sigma, constant(0, sigma.dtype))
        divisor = lax.select(is_zero, lax.full_like(sigma, 1), sigma)
        result = lax.div(matrix, lax.convert_element_type(divisor, wide))
        return SpectralNormed(
            lax.convert_element_type(lax.reshape(result, kernel.shape), result_dtype),
            lax.convert_element_type(u, kept_dtype),
            lax.convert_element_type(sigma, np.zeros((), kept_dtype).real.dtype),
        )

    layout = layout_of(kernel) or layout_of(u)
    if layout is None:
        return normed(kernel, u)
    layouts = SpectralNormed(
        split(layout, entries_of(layout_of(kernel), kernel.ndim)),  # type: ignore[arg-type]
        split(layout, entries_of(layout_of(u), 2)),  # type: ignore[arg-type]
        split(layout, ()),  # type: ignore[arg-type]
    )
    result: SpectralNormed = automatic(normed, layouts)(kernel, u)
    return result


def check_matrix(kernel: Array, *, error_on_non_matrix: bool) -> None:
    """Checks that a kernel is a matrix, or may be treated as one.

    Raises:
      ShapeError: it has fewer than two dimensions, or more and `error_on_non_matrix` is set.
    """
    if kernel.ndim < 2:
        raise ShapeError(
            f"kernel has shape {kernel.shape}, expected a matrix: a vector has no singular values."
        )
    if kernel.ndim > 2 and error_on_non_matrix:
        raise ShapeError(
            f"kernel has shape {kernel.shape}, {counted(kernel.ndim, 'dimension')}, expected a"
            " matrix because error_on_non_matrix is set.",
            hint=(
                "Without it, all dimensions but the last are flattened into one: a "
                "convolution's kernel becomes the matrix that maps a patch to the features."
            ),
        )


def _unit(vector: Array, epsilon: float) -> Array:
    """A vector divided by its length, or zeros."""
    square = lax.reduce_sum(abs_square(vector), tuple(range(vector.ndim)))
    # ε within the root: the direction and gradient of a zero vector are defined.
    inverse = lax.rsqrt(lax.add(square, constant(epsilon, square.dtype)))
    return lax.mul(vector, lax.convert_element_type(inverse, vector.dtype))


def _adjoint(matrix: Array) -> Array:
    return lax.transpose(lax.conj(matrix) if is_complex(matrix.dtype) else matrix, (1, 0))
