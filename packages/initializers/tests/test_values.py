"""Values equal jax's bit for bit, and follow the formulas; test_compiled covers compiled draws."""

import itertools
import math

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical
from linnet import initializers

KEY = jax.random.key(7)
ALIASES = {"kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"}
FACTORIES = sorted({*initializers.__all__} - ALIASES - {"Initializer", "zeros", "ones"})
# One initializer for each way of drawing; the others differ only in their numbers.
KINDS = [
    "constant",
    "delta_orthogonal",
    "glorot_uniform",
    "lecun_normal",
    "normal",
    "truncated_normal",
    "uniform",
]
REQUIRED = {"constant": (2.5,), "variance_scaling": (1.5, "fan_avg", "uniform")}


def make(name):
    return getattr(initializers, name)(*REQUIRED.get(name, ()))


def jaxs(name):
    if name.endswith("s_init"):
        return getattr(jax.nn.initializers, name.removesuffix("_init"))
    return getattr(jax.nn.initializers, name)(*REQUIRED.get(name, ()))


def enable_x64():
    # `jax.enable_x64` came with jax 0.8.
    new = getattr(jax, "enable_x64", None)
    return jax.experimental.enable_x64() if new is None else new(True)


def equals_jaxs(name):
    shape = (3, 4, 5)
    ours, theirs = make(name), jaxs(name)
    np.testing.assert_array_equal(ours(KEY, shape, jnp.float32), theirs(KEY, shape, jnp.float32))


@pytest.mark.parametrize("name", [name for name in FACTORIES if name != "truncated_normal"])
def test_values_are_those_of_jax(name):
    equals_jaxs(name)


def draw_with(factory):
    return lambda key: [factory(name)(key, (3, 4, 5), jnp.float32) for name in KINDS]


def test_values_of_an_eager_vmap_are_those_of_jax():
    """Multiplications are not folded into one another, as they would be in one program."""
    keys = jax.random.split(KEY, 2)
    identical(jax.vmap(draw_with(make))(keys), jax.vmap(draw_with(jaxs))(keys))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64, "float32", float])
@pytest.mark.parametrize("name", [*KINDS, "orthogonal"])
def test_dtype(name, dtype):
    def draw():
        return jax.eval_shape(lambda key: make(name)(key, (2, 3, 4), dtype), KEY)

    if name in ("uniform", "truncated_normal") and dtype == jnp.complex64:
        with pytest.raises(ValueError, match="dtype must be floating, got complex64"):
            draw()
    else:
        assert draw().dtype == jax.dtypes.canonicalize_dtype(jnp.dtype(dtype))


@pytest.mark.parametrize("name", [*FACTORIES, "zeros", "ones"])
def test_default_dtype_is_float64_where_there_is_one(name):
    initializer = getattr(initializers, name) if name in ("zeros", "ones") else make(name)

    def draw(key, dtype=jnp.float64):
        return initializer(key, (2, 3, 4), dtype), initializer(key, (2, 3, 4))

    assert {x.dtype for x in jax.eval_shape(draw, KEY)} == {jnp.dtype("float32")}
    with enable_x64():
        assert {x.dtype for x in jax.eval_shape(draw, KEY)} == {jnp.dtype("float64")}
        narrow, _ = jax.eval_shape(lambda key: draw(key, jnp.float32), KEY)
        assert narrow.dtype == jnp.float32


@pytest.mark.parametrize("name", ["normal", "lecun_uniform", "orthogonal", "zeros_init"])
def test_values_under_x64_are_those_of_jax(name):
    with enable_x64():
        ours, theirs = make(name)(KEY, (3, 4)), jaxs(name)(KEY, (3, 4))
        assert ours.dtype == jnp.float64
        np.testing.assert_array_equal(ours, theirs)
    assert make(name)(KEY, (3, 4)).dtype == jnp.float32


def test_the_factory_s_dtype_is_used_where_the_call_has_none():
    initializer = initializers.normal(dtype=jnp.bfloat16)
    assert initializer(KEY, (2,)).dtype == jnp.bfloat16
    # As in jax, None differs from leaving dtype out.
    assert initializer(KEY, (2,), None).dtype == jnp.float32
    assert initializer(KEY, (2,), jnp.float32).dtype == jnp.float32
    assert initializers.normal(dtype=None)(KEY, (2,)).dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_narrow_orthogonal_is_the_float32_one_rounded(dtype):
    for factory, shape in (
        (initializers.orthogonal, (4, 4)),
        (initializers.delta_orthogonal, (3, 4, 4)),
    ):
        wide = factory()(KEY, shape, jnp.float32)
        np.testing.assert_array_equal(factory()(KEY, shape, dtype), wide.astype(dtype))


FANS = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: math.sqrt(fan_in * fan_out),
}


@pytest.mark.parametrize(
    ("mode", "distribution", "shape", "axes", "fan_in", "fan_out"),
    [
        ("fan_in", "normal", (6, 4), {}, 6, 4),
        ("fan_out", "normal", (6, 4), {}, 6, 4),
        ("fan_avg", "uniform", (6, 4), {}, 6, 4),
        ("fan_geo_avg", "truncated_normal", (6, 4), {}, 6, 4),
        ("fan_avg", "normal", (2, 3, 6, 4), {}, 2 * 3 * 6, 2 * 3 * 4),
        ("fan_avg", "normal", (2, 6, 4), {"batch_axis": 0}, 6, 4),
        ("fan_avg", "normal", (2, 3, 6, 4), {"in_axis": (0, 1), "out_axis": (2, 3)}, 6, 24),
        ("fan_in", "normal", (6, 4), {"in_axis": 1, "out_axis": 0}, 4, 6),
        ("fan_in", "normal", (6, 4), {"in_axis": np.int64(-1), "out_axis": [-2]}, 4, 6),
        ("fan_in", "normal", (5,), {"in_axis": 0, "out_axis": ()}, 5, 1),
        ("fan_in", "normal", (5,), {"in_axis": -1, "out_axis": -1}, 1, 1),
    ],
)
def test_variance_scaling_is_a_draw_of_variance_one_times_its_factor(
    mode, distribution, shape, axes, fan_in, fan_out
):
    """Each standard draw is a public function of jax.random; the factor is √(scale / n)."""
    scale = 1.7
    unit = {
        "normal": lambda: jax.random.normal(KEY, shape),
        # 0.8796…: the standard deviation of a normal distribution cut off at ±2.
        "truncated_normal": lambda: (
            jax.random.truncated_normal(KEY, -2, 2, shape) / 0.87962566103423978
        ),
        "uniform": lambda: math.sqrt(3) * jax.random.uniform(KEY, shape, minval=-1),
    }[distribution]()
    expected = np.asarray(unit, np.float64) * math.sqrt(scale / FANS[mode](fan_in, fan_out))
    drawn = initializers.variance_scaling(scale, mode, distribution, **axes)(KEY, shape)
    np.testing.assert_allclose(drawn, expected, rtol=1e-5)


def test_named_scalings_are_special_cases():
    fans = {"lecun": (1.0, "fan_in"), "glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in")}
    distributions = {"normal": "truncated_normal", "uniform": "uniform"}
    for (name, fan), (suffix, distribution) in itertools.product(
        fans.items(), distributions.items()
    ):
        special = getattr(initializers, f"{name}_{suffix}")(in_axis=0, out_axis=1)
        general = initializers.variance_scaling(*fan, distribution, in_axis=0, out_axis=1)
        np.testing.assert_array_equal(special(KEY, (3, 4)), general(KEY, (3, 4)))
    assert initializers.xavier_normal is initializers.glorot_normal
    assert initializers.xavier_uniform is initializers.glorot_uniform
    assert initializers.kaiming_normal is initializers.he_normal
    assert initializers.kaiming_uniform is initializers.he_uniform


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
def test_an_array_without_elements_can_be_drawn(name, shape):
    if name == "delta_orthogonal" and shape == (2, 3, 0):
        return  # More inputs than outputs raise an error; see test_refusals.
    assert make(name)(KEY, shape).shape == shape


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "constant"])
def test_shapes_of_any_rank(name):
    for given, shape in (((), ()), (3, (3,)), ([2, 3], (2, 3)), (np.array([2, 3]), (2, 3))):
        assert make(name)(KEY, given).shape == shape
    assert make(name)(KEY, (np.int64(2), jnp.int32(3))).shape == (2, 3)


def test_a_raw_key_draws_what_the_typed_one_draws():
    typed = initializers.normal()(jax.random.key(3), (4,))
    raw = initializers.normal()(jax.random.PRNGKey(3), (4,))
    as_numpy = initializers.normal()(np.asarray(jax.random.PRNGKey(3)), (4,))
    np.testing.assert_array_equal(raw, typed)
    np.testing.assert_array_equal(as_numpy, typed)


def test_constant_broadcasts_an_array():
    value = np.array([1.0, 2.0, 3.0])
    initializer = initializers.constant(value)
    value[0] = 9  # The initializer has its own copy.
    np.testing.assert_array_equal(initializer(KEY, (2, 3)), [[1, 2, 3], [1, 2, 3]])
    jitted = jax.jit(lambda key: initializer(key, (2, 3)))(KEY)
    np.testing.assert_array_equal(jitted, [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(
        initializers.constant(jnp.array([[1], [2]]))(KEY, (2, 3), jnp.int32),
        [[1, 1, 1], [2, 2, 2]],
    )


@pytest.mark.parametrize("value", [True, 3, -2.5, np.float32(2), np.bool_(True), math.inf])
def test_constant_numbers(value):
    np.testing.assert_array_equal(initializers.constant(value)(KEY, (2,)), [value, value])


def test_constant_keeps_the_sign_of_zero_and_nan():
    for value in (0.0, -0.0, math.nan):
        drawn = jax.jit(lambda key, v=value: initializers.constant(v)(key, (1,)))(KEY)
        np.testing.assert_array_equal(np.signbit(drawn), [np.signbit(value)])
        np.testing.assert_array_equal(np.isnan(drawn), [np.isnan(value)])


def test_complex_constant():
    drawn = initializers.constant(1 + 2j)(KEY, (2,), jnp.complex64)
    np.testing.assert_array_equal(drawn, [1 + 2j, 1 + 2j])


def test_zero_spread_draws_zeros():
    for initializer in (
        initializers.normal(0),
        initializers.uniform(0.0),
        initializers.truncated_normal(0),
        initializers.variance_scaling(0.0, "fan_in", "normal"),
    ):
        assert not np.asarray(initializer(KEY, (2, 3))).any()


def test_infinite_bounds_do_not_bound():
    free = initializers.truncated_normal(1.0, lower=-math.inf, upper=math.inf)
    np.testing.assert_allclose(free(KEY, (5,)), jax.random.normal(KEY, (5,)), rtol=1e-4)


def test_a_traced_argument_is_differentiated():
    """A program that learns a scale may build the initializer within the traced function."""

    def total(stddev):
        return initializers.normal(stddev)(KEY, (8,)).sum()

    expected = float(initializers.normal(1.0)(KEY, (8,)).sum())
    assert float(jax.jit(jax.grad(total))(2.0)) == pytest.approx(expected, rel=1e-5)


def test_symbolic_shapes():
    (batch,) = jax.export.symbolic_shape("b")
    exported = jax.export.export(
        jax.jit(lambda x: initializers.constant(3.0)(None, (x.shape[0], 2)))
    )(jax.ShapeDtypeStruct((batch,), jnp.float32))
    np.testing.assert_array_equal(exported.call(jnp.zeros(4)), np.full((4, 2), 3.0))
