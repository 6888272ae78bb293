"""How tests compare results: trees of arrays, bit by bit or to within rounding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import all_leaves, keystr, tree_leaves_with_path


def near(
    ours: Any,
    expected: Any,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    *,
    half: tuple[float, float] = (0.0, 0.0),
    scaled: bool = False,
) -> None:
    """Checks that trees have the same form and, to within rounding, the same numbers.

    Shapes must be equal, but a number may be expected for a whole array. Two jax arrays must also
    have the same dtype. For one array, anything that NumPy converts to an array may be expected.

    Args:
      ours: the result.
      expected: what it should be.
      rtol: the largest relative error.
      atol: the largest absolute error, added to the relative one.
      half: the minimum of both for 16-bit numbers.
      scaled: whether `atol` is a fraction of the largest expected number, if that is more than 1:
        if large numbers cancel, their errors remain.
    """
    for path, a, b in _pairs(ours, expected):
        if isinstance(a, jax.Array) and isinstance(b, jax.Array):
            assert a.dtype == b.dtype, path
        if np.ndim(b):
            assert np.shape(a) == np.shape(b), path
        half_type = getattr(a, "dtype", np.dtype(float)).itemsize == 2
        least, least_beside = half if half_type else (0.0, 0.0)
        a, b = _numbers(a), _numbers(b)
        largest = np.abs(b).max(initial=1) if scaled else 1
        atol_here = max(atol * largest, least_beside)
        np.testing.assert_allclose(a, b, rtol=max(rtol, least), atol=atol_here, err_msg=path)


def identical(ours: Any, expected: Any, *, weak_types: bool = True) -> None:
    """Checks that trees of jax's arrays are the same: form, dtypes, shapes and every bit."""
    for path, a, b in _pairs(ours, expected):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), path
        weak = [getattr(x, "weak_type", False) for x in (a, b)]  # keys have no such attribute
        assert not weak_types or weak[0] == weak[1], path
        assert bits(a) == bits(b), path


def bits(array: Any) -> bytes:
    """The bytes of an array, or of a key's data."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array).tobytes()


def single(*values: Any) -> list[jax.Array]:
    """Arrays of float32."""
    return [placed(v, np.float32) for v in values]


def sample(shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    """Normally distributed float32, drawn by NumPy: jax compiles a program for each shape."""
    return placed(np.random.default_rng(seed).normal(size=shape), np.float32)


def placed(values: Any, dtype: Any = None) -> jax.Array:
    """A JAX array with NumPy's values; `jnp.asarray` compiles a program for each shape."""
    array: jax.Array = jax.device_put(np.asarray(values, dtype))
    return array


def _pairs(ours: Any, expected: Any) -> list[tuple[str, Any, Any]]:
    if all_leaves([ours]):
        return [("", ours, expected)]
    forms: list[Any] = [jax.tree.structure(tree) for tree in (ours, expected)]
    assert forms[0] == forms[1]
    leaves = zip(tree_leaves_with_path(ours), jax.tree.leaves(expected), strict=True)
    return [(keystr(path), a, b) for (path, a), b in leaves]


def _numbers(array: Any) -> Any:
    """An array of a type that NumPy computes with; bfloat16 is not one."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array
