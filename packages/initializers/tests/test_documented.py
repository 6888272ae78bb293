"""The documented names, signatures, sentences and printed examples, as written.

The printed numbers were drawn without partitionable threefry; the last digit of a float32 depends
on the processor.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet import initializers

SCALED = "in_axis=-2, out_axis=-1, batch_axis=(), dtype=float64"
SIGNATURES = {
    "constant": "value, dtype=float64",
    "delta_orthogonal": "scale=1.0, column_axis=-1, dtype=float64",
    "glorot_normal": SCALED,
    "glorot_uniform": SCALED,
    "he_normal": SCALED,
    "he_uniform": SCALED,
    "kaiming_normal": SCALED,
    "kaiming_uniform": SCALED,
    "lecun_normal": SCALED,
    "lecun_uniform": SCALED,
    "normal": "stddev=0.01, dtype=float64",
    "ones": "key, shape, dtype=float64",
    "ones_init": "",
    "orthogonal": "scale=1.0, column_axis=-1, dtype=float64",
    "truncated_normal": "stddev=0.01, dtype=float64, lower=-2.0, upper=2.0",
    "uniform": "scale=0.01, dtype=float64",
    "variance_scaling": "scale, mode, distribution, " + SCALED,
    "xavier_normal": SCALED,
    "xavier_uniform": SCALED,
    "zeros": "key, shape, dtype=float64",
    "zeros_init": "",
}

GLOROT_NORMAL = [[0.41770416, 0.75262755, 0.7619329], [-0.5516644, -0.6028657, 0.08661086]]
GLOROT_UNIFORM = [[0.50350785, 0.8088631, 0.81566876], [-0.6393332, -0.6865721, 0.11003882]]
HE_NORMAL = [[0.6604483, 1.1900088, 1.2047218], [-0.87225807, -0.95321447, 0.1369438]]
HE_UNIFORM = [[0.79611576, 1.2789248, 1.2896855], [-1.0108745, -1.0855657, 0.17398663]]
EXAMPLES = {
    "glorot_normal": ((), GLOROT_NORMAL),
    "glorot_uniform": ((), GLOROT_UNIFORM),
    "he_normal": ((), HE_NORMAL),
    "he_uniform": ((), HE_UNIFORM),
    "kaiming_normal": ((), HE_NORMAL),
    "kaiming_uniform": ((), HE_UNIFORM),
    "lecun_normal": (
        (),
        [[0.46700746, 0.8414632, 0.8518669], [-0.61677957, -0.67402434, 0.09683388]],
    ),
    "lecun_uniform": (
        (),
        [[0.56293887, 0.90433645, 0.9119454], [-0.71479625, -0.7676109, 0.12302713]],
    ),
    "normal": ((5.0,), [[3.0613258, 5.6129413, 5.6866574], [-4.063663, -4.4520254, 0.63115686]]),
    "orthogonal": (
        (),
        [
            [3.9026976e-01, 7.2495741e-01, -5.6756169e-01],
            [8.8047469e-01, -4.7409311e-01, -1.3157725e-04],
        ],
    ),
    "truncated_normal": (
        (5.0,),
        [[2.9047365, 5.2338114, 5.29852], [-3.836303, -4.192359, 0.6022964]],
    ),
    "uniform": ((10.0,), [[7.298188, 8.691938, 8.7230015], [2.0818567, 1.8662417, 5.5022564]]),
    "xavier_normal": ((), GLOROT_NORMAL),
    "xavier_uniform": ((), GLOROT_UNIFORM),
}


def _default(parameter):
    if parameter.default is parameter.empty:
        return ""
    return "=float64" if parameter.default is jnp.float64 else f"={parameter.default!r}"


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    parameters = list(inspect.signature(getattr(initializers, name)).parameters.values())
    if name in ("ones", "zeros"):
        assert parameters.pop().name == "out_sharding"
    written = ", ".join(p.name + _default(p) for p in parameters)
    assert written == SIGNATURES[name]


def test_all_documented_names_and_the_protocol_are_public():
    assert sorted(initializers.__all__) == sorted([*SIGNATURES, "Initializer"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    arguments, printed = EXAMPLES[name]
    initializer = getattr(initializers, name)(*arguments)
    with jax.threefry_partitionable(False):
        drawn = initializer(jax.random.key(42), (2, 3), jnp.float32)
    assert drawn.dtype == jnp.float32
    np.testing.assert_allclose(drawn, printed, rtol=1e-6, atol=2e-7)


def test_delta_orthogonal_example():
    with jax.threefry_partitionable(False):
        kernel = initializers.delta_orthogonal()(jax.random.key(42), (3, 3, 3), jnp.float32)
    expected = np.zeros((3, 3, 3))
    expected[1] = [
        [0.27858758, -0.7949833, -0.53887904],
        [0.9120717, 0.04322892, 0.40774566],
        [-0.30085585, -0.6050892, 0.73712474],
    ]
    np.testing.assert_allclose(kernel, expected, rtol=1e-6, atol=2e-7)


def test_constant_example():
    initializer = initializers.constant(-7)
    drawn = initializer(jax.random.key(42), (2, 3), jnp.float32)
    assert repr(drawn) == ("Array([[-7., -7., -7.],\n       [-7., -7., -7.]], dtype=float32)")


@pytest.mark.parametrize(
    ("initializer", "value"),
    [
        (initializers.zeros, 0.0),
        (initializers.zeros_init(), 0.0),
        (initializers.ones, 1.0),
        (initializers.ones_init(), 1.0),
    ],
)
def test_zeros_and_ones_examples(initializer, value):
    drawn = initializer(jax.random.key(42), (3, 2), jnp.float32)
    assert drawn.dtype == jnp.float32
    np.testing.assert_array_equal(drawn, np.full((3, 2), value))


def test_zeros_and_ones_ignore_the_key():
    for key in (None, 3, jax.random.key(0), jax.random.split(jax.random.key(0), 5)):
        np.testing.assert_array_equal(initializers.zeros(key, (2,)), [0, 0])
        np.testing.assert_array_equal(initializers.ones(key, (2,)), [1, 1])
        np.testing.assert_array_equal(initializers.constant(5)(key, (2,)), [5, 5])


def test_zeros_init_is_zeros():
    assert initializers.zeros_init() is initializers.zeros
    assert initializers.ones_init() is initializers.ones


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6)])
def test_orthogonal_has_orthogonal_rows_or_columns_whichever_are_fewer(shape):
    matrix = np.asarray(initializers.orthogonal(scale=2.0)(jax.random.key(1), shape))
    small = matrix @ matrix.T if shape[0] < shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(min(shape)), atol=1e-5)


def test_column_axis_holds_the_columns_that_are_orthogonal():
    tensor = np.asarray(initializers.orthogonal(column_axis=0)(jax.random.key(1), (3, 4, 5)))
    columns = tensor.reshape(3, 20)
    np.testing.assert_allclose(columns @ columns.T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("window", [(3,), (3, 5), (3, 1, 2)])
def test_delta_orthogonal_is_an_orthogonal_matrix_amid_zeros(window):
    kernel = np.array(initializers.delta_orthogonal(2.0)(jax.random.key(1), (*window, 3, 4)))
    middle = kernel[tuple((n - 1) // 2 for n in window)].copy()
    kernel[tuple((n - 1) // 2 for n in window)] = 0
    np.testing.assert_allclose(middle @ middle.T, 4 * np.eye(3), atol=1e-5)
    assert not kernel.any()


def test_uniform_lies_between_zero_and_scale():
    drawn = np.asarray(initializers.uniform(10.0)(jax.random.key(0), (10_000,)))
    assert 0 <= drawn.min() < 0.1
    assert 9.9 < drawn.max() < 10


def test_truncated_normal_lies_within_its_bounds_and_is_not_corrected():
    initializer = initializers.truncated_normal(5.0, lower=-1.0, upper=3.0)
    drawn = np.asarray(initializer(jax.random.key(0), (10_000,)))
    assert -5 <= drawn.min() < -4.9
    assert 12 < drawn.max() <= 15
    plain = np.asarray(initializers.truncated_normal(1.0)(jax.random.key(0), (100_000,)))
    assert abs(plain.std() - 0.8796) < 0.005
