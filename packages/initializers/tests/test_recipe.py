"""An initializer is a value: compared, hashed, printed, pickled, and traced once."""

import copy
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet import initializers
from linnet.initializers import (
    constant,
    delta_orthogonal,
    glorot_uniform,
    he_normal,
    lecun_normal,
    normal,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
)

KEY = jax.random.key(0)
CALLS = [
    "lecun_normal()",
    "lecun_normal(in_axis=(0, 1), batch_axis=2)",
    "glorot_uniform(out_axis=0)",
    "he_normal(dtype='bfloat16')",
    "normal()",
    "normal(stddev=0.02)",
    "normal(stddev=0.02, dtype='float32')",
    "uniform(scale=2.0)",
    "truncated_normal(stddev=0.5, lower=-1.0, upper=3.0)",
    "variance_scaling(2.0, 'fan_in', 'normal')",
    "variance_scaling(1.0, 'fan_out', 'uniform', in_axis=0)",
    "orthogonal()",
    "orthogonal(scale=2.0, column_axis=0)",
    "delta_orthogonal()",
    "constant(3)",
    "constant(0.5, dtype='int32')",
]


@pytest.mark.parametrize("call", CALLS)
def test_repr_is_the_call(call):
    initializer = eval(call)
    assert repr(initializer) == call
    assert initializer.__name__ == call.partition("(")[0]


@pytest.mark.parametrize("call", CALLS)
def test_equality_hash_pickle_and_copies(call):
    initializer, again = eval(call), eval(call)
    assert initializer == again
    assert hash(initializer) == hash(again)
    restored = pickle.loads(pickle.dumps(initializer))
    assert restored == initializer
    assert repr(restored) == call
    assert copy.copy(initializer) is initializer
    assert copy.deepcopy(initializer) is initializer


def test_every_difference_makes_another_initializer():
    made = [eval(call) for call in CALLS]
    made += [constant(0.0), constant(-0.0), constant(math.nan), constant(True)]
    made += [constant(np.zeros(2)), constant(np.zeros(3)), constant(jnp.zeros(2)), constant(0)]
    assert len(set(made)) == len(made)
    assert normal() != "normal()"
    assert constant(math.nan) == constant(math.nan)
    assert constant(np.ones(2)) == constant(np.ones(2))
    assert normal(1) == normal(1.0)


def test_a_restored_array_constant_draws_the_same():
    for value in (np.arange(3.0), jnp.arange(3.0)):
        restored = pickle.loads(pickle.dumps(constant(value)))
        np.testing.assert_array_equal(restored(KEY, (2, 3)), constant(value)(KEY, (2, 3)))


def test_plain_functions_can_be_pickled_too():
    assert pickle.loads(pickle.dumps(initializers.zeros)) is initializers.zeros


def test_an_initializer_cannot_be_changed():
    initializer = normal(stddev=0.02)
    with pytest.raises(
        AttributeError, match=r"normal\(stddev=0.02\) is immutable: cannot set 'stddev'"
    ):
        initializer.stddev = 3
    with pytest.raises(AttributeError, match="is immutable: cannot"):
        initializer._dtype = jnp.dtype("float32")
    with pytest.raises(AttributeError, match="is immutable: cannot"):
        del initializer._dtype


def test_equal_initializers_are_traced_once(monkeypatch):
    """Twelve identical layers draw with twelve calls to one traced function."""
    traces = []
    real = jax.nn.initializers.lecun_normal

    def counting(*args, **kwargs):
        traces.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(jax.nn.initializers, "lecun_normal", counting)

    def draw(key):
        # A shape that no other test uses, since traces stay cached for the process.
        return [lecun_normal()(k, (7, 11), jnp.float32) for k in jax.random.split(key, 12)]

    jax.eval_shape(draw, KEY)
    count = len(traces)
    assert count <= 2  # a form for CPUs, one for other platforms
    jax.eval_shape(lambda key: lecun_normal()(key, (11, 7), jnp.float32), KEY)
    assert len(traces) == 2 * count


def test_a_trace_holds_one_equation_a_draw():
    def draw(key):
        return [lecun_normal()(key, (7, 13), jnp.float32) for _ in range(5)]

    assert len(jax.make_jaxpr(draw)(KEY).eqns) == 5


def test_a_concrete_key_draws_within_a_trace_too():
    drawn = jax.jit(lambda x: x + normal()(KEY, (3,), jnp.float32))(jnp.zeros(3))
    np.testing.assert_array_equal(drawn, normal()(KEY, (3,), jnp.float32))


def test_names_used_in_calls():
    """`eval` above needs these imports."""
    assert {c.partition("(")[0] for c in CALLS} == {
        f.__name__
        for f in (
            constant,
            delta_orthogonal,
            glorot_uniform,
            he_normal,
            lecun_normal,
            normal,
            orthogonal,
            truncated_normal,
            uniform,
            variance_scaling,
        )
    }
