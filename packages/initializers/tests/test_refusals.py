"""Errors name the bad argument, what was expected and what was passed."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet import initializers
from linnet.initializers import (
    constant,
    delta_orthogonal,
    glorot_normal,
    lecun_normal,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
    zeros,
)

KEY = jax.random.key(0)

FACTORY_CALLS = [
    (lambda: normal(-1.0), ValueError, "normal: stddev must not be negative, got -1.0."),
    (lambda: normal(stddev="1"), TypeError, "normal: stddev must be a real number, got '1'."),
    (lambda: normal(None), TypeError, "normal: stddev must be a real number, got None."),
    (lambda: normal([1.0]), TypeError, "normal: stddev must be a real number, got [1.0]."),
    (
        lambda: lecun_normal(KEY, (3, 2), jnp.float32),
        TypeError,
        "lecun_normal: in_axis must be an int or a sequence of ints, got a PRNG key.\n"
        "  lecun_normal makes an initializer: pass lecun_normal(), with parentheses.",
    ),
    (lambda: orthogonal(KEY, (3, 2)), TypeError, "got a PRNG key.\n  orthogonal makes an"),
    (lambda: normal(1j), TypeError, "normal: stddev must be a real number, got 1j."),
    (lambda: normal(math.nan), ValueError, "normal: stddev must be a number, got nan."),
    (lambda: normal(math.inf), ValueError, "normal: stddev must be finite, got inf."),
    (lambda: normal(np.float32(-1)), ValueError, "normal: stddev must not be negative"),
    (lambda: normal(jnp.array([1.0, -1.0])), ValueError, "normal: stddev must not be negative"),
    (lambda: uniform(-2), ValueError, "uniform: scale must not be negative, got -2.0."),
    (lambda: orthogonal(-2), ValueError, "orthogonal: scale must not be negative, got -2.0."),
    (lambda: delta_orthogonal(-2), ValueError, "delta_orthogonal: scale must not be negative"),
    (lambda: truncated_normal(-2), ValueError, "truncated_normal: stddev must not be negative"),
    (
        lambda: truncated_normal(lower=1, upper=-1),
        ValueError,
        "truncated_normal: lower must be below upper, got lower=1.0, upper=-1.0.",
    ),
    (
        lambda: truncated_normal(lower="a"),
        TypeError,
        "truncated_normal: lower must be a real number, got 'a'.",
    ),
    (
        lambda: variance_scaling(-1.0, "fan_in", "normal"),
        ValueError,
        "variance_scaling: scale must not be negative, got -1.0.",
    ),
    (
        lambda: variance_scaling(1.0, "fan", "normal"),
        ValueError,
        "variance_scaling: unknown mode 'fan', expected one of 'fan_in', 'fan_out', 'fan_avg', "
        "'fan_geo_avg'.",
    ),
    (
        lambda: variance_scaling(1.0, "fan_in", "gauss"),
        ValueError,
        "variance_scaling: unknown distribution 'gauss', expected one of 'truncated_normal', "
        "'normal', 'uniform'.",
    ),
    (
        lambda: variance_scaling(1.0, None, "normal"),
        ValueError,
        "variance_scaling: unknown mode None",
    ),
    (
        lambda: lecun_normal(in_axis=1.0),
        TypeError,
        "lecun_normal: in_axis must be an int or a sequence of ints, got 1.0.",
    ),
    (
        lambda: glorot_normal(out_axis=(0, 1.5)),
        TypeError,
        "glorot_normal: out_axis must be an int or a sequence of ints, got (0, 1.5).",
    ),
    (lambda: lecun_normal(batch_axis="0"), TypeError, "lecun_normal: batch_axis must be an int"),
    (
        lambda: orthogonal(column_axis=(0,)),
        TypeError,
        "orthogonal: column_axis must be an int, got (0,).",
    ),
    (lambda: normal(dtype="nonsense"), TypeError, "normal: dtype must be a dtype, got 'nonsense'."),
    (
        lambda: constant([1.0, 2.0]),
        TypeError,
        "constant: value must be a number or an array, got [1.0, 2.0].\n"
        "  Convert a list with jax.numpy.asarray.",
    ),
    (lambda: constant("a"), TypeError, "constant: value must be a number or an array, got 'a'."),
    (lambda: constant(np.array(["a"])), TypeError, "constant: value must be a number or an array"),
]

DRAWS = [
    (
        lecun_normal(),
        (3,),
        None,
        "lecun_normal(): shape must have at least two dimensions (inputs and outputs), got "
        "(3,).\n"
        "  Initialize a bias or a scale with zeros, ones or normal.",
    ),
    (lecun_normal(), (), None, "lecun_normal(): shape must have at least two dimensions"),
    (lecun_normal(), 3, None, "lecun_normal(): shape must have at least two dimensions"),
    (
        lecun_normal(in_axis=2),
        (3, 4),
        None,
        "lecun_normal(in_axis=2): in_axis=2 is out of range for shape (3, 4), "
        "expected axes from -2 to 1.",
    ),
    (
        glorot_normal(batch_axis=(0, -3)),
        (3, 4),
        None,
        "glorot_normal(batch_axis=(0, -3)): batch_axis=(0, -3) is out of range for shape (3, 4)",
    ),
    (orthogonal(), (3,), None, "orthogonal(): shape must have at least two dimensions"),
    (orthogonal(column_axis=-3), (3, 4), None, "column_axis=-3 is out of range for shape (3, 4)"),
    (
        delta_orthogonal(),
        (3, 4),
        None,
        "delta_orthogonal(): shape must have 3, 4 or 5 dimensions: one to three window "
        "dimensions, then inputs and outputs; got (3, 4).",
    ),
    (delta_orthogonal(), (1, 1, 1, 1, 2, 2), None, "shape must have 3, 4 or 5 dimensions"),
    (
        delta_orthogonal(),
        (3, 4, 2),
        None,
        "delta_orthogonal(): shape must not have more inputs "
        "than outputs, got (3, 4, 2) with 4 inputs and 2 outputs.",
    ),
    (delta_orthogonal(column_axis=2), (3, 2, 4), None, "column_axis=2 is out of range for shape"),
    (normal(), (2, -1), None, "normal(): shape must not have negative dimensions, got (2, -1)."),
    (normal(), (2, 3), jnp.int32, "normal(): dtype must be floating or complex, got int32."),
    (uniform(), (2, 3), jnp.complex64, "uniform(): dtype must be floating, got complex64."),
    (truncated_normal(), (2,), bool, "truncated_normal(): dtype must be floating, got bool."),
    (lecun_normal(), (2, 3), jnp.int8, "lecun_normal(): dtype must be floating or complex"),
    (orthogonal(), (2, 3), jnp.int8, "orthogonal(): dtype must be floating or complex, got int8."),
    (
        constant(np.ones(3)),
        (3, 2),
        None,
        "a value of shape (3,) does not broadcast to shape (3, 2)",
    ),
    (constant(np.ones((2, 2))), (2,), None, "a value of shape (2, 2) does not broadcast"),
    (constant(1j), (2,), jnp.float32, "constant(1j): a complex value does not fit dtype float32."),
]

WRONG_TYPES = [
    (normal(), KEY, (2.0, 1), None, "normal(): shape must consist of ints, got (2.0, 1)."),
    (normal(), KEY, "23", None, "normal(): shape must consist of ints, got '23'."),
    (normal(), KEY, None, None, "normal(): shape must consist of ints, got None."),
    (zeros, KEY, (2.0,), None, "zeros: shape must consist of ints, got (2.0,)."),
    (ones, KEY, (2,), "nonsense", "ones: dtype must be a dtype, got 'nonsense'."),
    (normal(), KEY, (2,), "nonsense", "normal(): dtype must be a dtype, got 'nonsense'."),
    (normal(), None, (2,), None, "normal(): key must be a PRNG key, got None.\n"
     "  jax.random.key(0) makes one from the seed 0."),
    (lecun_normal(), 0, (2, 3), None, "lecun_normal(): key must be a PRNG key, got 0."),
    (orthogonal(), jnp.ones(2), (2, 3), None, "key must be a PRNG key, got an array of float32."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), FACTORY_CALLS)
def test_factories(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("initializer", "shape", "dtype", "message"), DRAWS)
def test_shapes_and_dtypes(initializer, shape, dtype, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        initializer(KEY, shape, dtype)
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(lambda key: initializer(key, shape, dtype), KEY)


@pytest.mark.parametrize(("initializer", "key", "shape", "dtype", "message"), WRONG_TYPES)
def test_wrong_types(initializer, key, shape, dtype, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        initializer(key, shape, dtype)


@pytest.mark.parametrize("make", [normal, uniform, truncated_normal, lecun_normal, orthogonal])
def test_several_keys_raise_an_error(make):
    for keys in (jax.random.split(KEY, 2), jnp.zeros((2, 2), jnp.uint32)):
        with pytest.raises(ValueError, match="key must be a single PRNG key, got an array of"):
            make()(keys, (2, 3))


def test_a_traced_dimension_raises_an_error():
    with pytest.raises(TypeError, match="shape must consist of ints"):
        jax.jit(lambda n: initializers.normal()(KEY, (n, 2)))(3)


def test_out_sharding_is_passed_on_where_jax_takes_it():
    supported = "out_sharding" in inspect.signature(jax.nn.initializers.zeros).parameters
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    placement = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    for initializer in (zeros, ones, normal(), lecun_normal(), constant(1.0)):

        def draw(key, initializer=initializer):
            return initializer(key, (2, 2), jnp.float32, out_sharding=placement)

        for call in (draw, jax.jit(draw)):
            if supported:
                assert call(KEY).sharding.is_equivalent_to(placement, 2)
            else:
                with pytest.raises(TypeError, match="cannot initialize with out_sharding"):
                    call(KEY)
    with pytest.raises(TypeError, match=r"cannot (initialize|draw orthogonal matrices) with out_"):
        orthogonal()(KEY, (2, 2), jnp.float32, out_sharding=placement)
