"""linnet.initializers against flax.linen.initializers and flax.nnx.initializers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.linen import initializers as theirs

from linnet import initializers as ours

KEY = jax.random.key(11)
CALLS = {
    "constant": [(2.5,), (np.arange(5.0),)],
    "delta_orthogonal": [(), (0.5, 0)],
    "glorot_normal": [(), (0, 1), (-2, -1, 0)],
    "glorot_uniform": [()],
    "he_normal": [()],
    "he_uniform": [((0, 1), 2)],
    "kaiming_normal": [()],
    "kaiming_uniform": [()],
    "lecun_normal": [(), (1, 2, 0)],
    "lecun_uniform": [()],
    "normal": [(), (0.3,), (np.float32(0.3),)],
    "ones_init": [()],
    "orthogonal": [(), (2.0, 1)],
    "truncated_normal": [(), (1.5, jnp.float32, -1.0, 3.0)],
    "uniform": [(), (4,)],
    "variance_scaling": [
        (1 / 3, "fan_avg", "normal"),
        (2, "fan_out", "uniform"),
        (1.0, "fan_geo_avg", "truncated_normal"),
    ],
    "xavier_normal": [()],
    "xavier_uniform": [()],
    "zeros_init": [()],
}
CASES = [(name, arguments) for name, calls in CALLS.items() for arguments in calls]


def public(module):
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(("jax", "flax"))
    }


@pytest.mark.parametrize("module", [theirs, nnx.initializers], ids=["linen", "nnx"])
def test_every_public_name_exists(module):
    assert public(module) - {"DtypeLikeInexact"} <= set(ours.__all__)


@pytest.mark.parametrize("name", sorted(public(theirs) - {"Initializer"}))
def test_parameters_and_defaults(name):
    """The same except for the default dtype: float64 as documented, None in newer jax."""
    mine = inspect.signature(getattr(ours, name)).parameters
    yours = inspect.signature(getattr(theirs, name)).parameters
    assert list(mine) == list(yours)
    for key in mine:
        if key != "dtype":
            assert mine[key].default == yours[key].default
            assert mine[key].kind == yours[key].kind


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_eager_values_are_bit_identical(name, arguments):
    mine, yours = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)
    np.testing.assert_array_equal(mine(KEY, (3, 4, 5)), yours(KEY, (3, 4, 5)))


def draw_all(module):
    return lambda key: [
        getattr(module, name)(*arguments)(key, (3, 4, 5), jnp.float32) for name, arguments in CASES
    ]


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f))])
def test_transformed_values_are_bit_identical(transform):
    key = KEY if transform is jax.jit else jax.random.split(KEY, 3)
    mine, yours = transform(draw_all(ours))(key), transform(draw_all(theirs))(key)
    for case, a, b in zip(CASES, mine, yours, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(case))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64])
@pytest.mark.parametrize("name", ["normal", "lecun_normal", "glorot_uniform", "zeros_init"])
def test_values_of_other_dtypes_are_bit_identical(name, dtype):
    mine, yours = getattr(ours, name)(), getattr(theirs, name)()
    np.testing.assert_array_equal(mine(KEY, (3, 4), dtype), yours(KEY, (3, 4), dtype))
