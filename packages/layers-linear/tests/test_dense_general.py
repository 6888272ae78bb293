"""`DenseGeneral` asks an initializer for a matrix, and gives no key to one that ignores it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.initializers import normal, ones, zeros
from linnet.layers_linear import linen
from linnet.module_core.linen import with_partitioning

KEY = jax.random.key(5)
X = jnp.ones((2, 3, 4))


def recording(calls, *, ignores_key):
    def init(key, shape, dtype):
        calls.append((key, shape))
        return jnp.zeros(shape, dtype)

    init.ignores_key = ignores_key
    return init


def made(**fields):
    layer = linen.DenseGeneral((5, 6), axis=(-2, -1), **fields)
    return layer.init(KEY, X)["params"]


def test_an_initializer_sees_a_matrix_and_a_key_of_its_own():
    calls = []
    made(kernel_init=recording(calls, ignores_key=False))
    ((key, shape),) = calls
    assert shape == (12, 30)
    assert not jnp.array_equal(jax.random.key_data(key), jax.random.key_data(KEY))


def test_an_initializer_that_ignores_its_key_has_none_derived():
    calls = []
    made(kernel_init=recording(calls, ignores_key=True))
    ((key, shape),) = calls
    assert shape == (3, 4, 5, 6)
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(KEY))


@pytest.mark.parametrize("kernel_init", [zeros, ones])
def test_the_bias_is_the_same_after_any_kernel(kernel_init):
    bias = made(kernel_init=kernel_init, bias_init=normal())["bias"]
    np.testing.assert_array_equal(bias, made(bias_init=normal())["bias"])


def test_ones_in_a_box_keep_the_names_of_the_kernel_s_axes():
    names = ("length", "embed", "heads", "kv")
    kernel = made(kernel_init=with_partitioning(ones, names))["kernel"]
    assert kernel.names == names
    np.testing.assert_array_equal(kernel.value, np.ones((3, 4, 5, 6)))
