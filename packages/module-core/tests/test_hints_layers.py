"""Every hint of the checks that layers share, followed to the letter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core import layers
from linnet.module_core.layers import (
    axes_of,
    check_rate,
    inexact,
    integer,
    integers,
    shape_of,
    vector_features,
)
from linnet.module_core.layers.nnx import Layer, dropout_key, new_param
from linnet.module_core.nnx import Rngs

SOURCES = Path(layers.__file__).parent
KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Dense(Layer):
    """A kernel that is drawn."""

    def __init__(self, features, *, rngs, init=jax.random.normal):
        self.kernel = new_param(self, init, (3, features), "float32", rngs, {})


class Dropping(Layer):
    """A layer that draws on each call."""

    def __init__(self, rngs=None):
        self.rngs = rngs

    def __call__(self, x, rngs=None, deterministic=False):
        if deterministic:
            return x
        key = dropout_key(rngs if rngs is not None else self.rngs, self)
        return x * jax.random.bernoulli(key, 0.5, x.shape)


def dropped(**options):
    """A rate that is an argument of a jitted function."""
    return jax.jit(lambda x, rate: x * check_rate(rate), **options)(jnp.ones(2), rate=0.5)


REMEDIES = [
    Remedy(
        "If it is a factory, call it first: {}().",
        lambda: Dense(2, rngs=Rngs(0), init=jax.nn.initializers.lecun_normal),
        lambda: Dense(2, rngs=Rngs(0), init=jax.nn.initializers.lecun_normal()),
    ),
    Remedy(
        "Write {}, or divide with // where it is computed.",
        lambda: integer(8 / 2, "num_heads"),
        lambda: [integer(4, "num_heads"), integer(8 // 2, "num_heads")],
        filled=("4",),
    ),
    Remedy(
        "create several layers one by one.",
        lambda: integer([3, 4], "features"),
        lambda: [integer(size, "features") for size in [3, 4]],
    ),
    Remedy(
        "Valid axes are {} to {}.",
        lambda: axes_of((0, 3), 2, "axis"),
        lambda: [axes_of((0, axis), 2, "axis") for axis in (-1, 1)],
        filled=("-2", "1"),
    ),
    Remedy(
        "pass it as a Python number, or name its argument in `static_argnames`.",
        dropped,
        lambda: [check_rate(0.5), dropped(static_argnames="rate")],
    ),
    Remedy(
        "It is the probability of being dropped, not a percentage.",
        lambda: check_rate(50.0),
        lambda: check_rate(50.0 / 100),
    ),
    Remedy(
        "Pass a single number as an array of shape (1,).",
        lambda: vector_features(shape_of(3.0)),
        lambda: vector_features(shape_of(jnp.array([3.0]))),
    ),
    Remedy(
        "Convert them first, e.g. with `.astype(jax.numpy.float32)`.",
        lambda: inexact(jnp.ones(2, int), "inputs", "be scaled"),
        lambda: inexact(jnp.ones(2, int).astype(jax.numpy.float32), "inputs", "be scaled"),
    ),
    Remedy(
        "Write {}(..., rngs=nnx.Rngs(0)), with one Rngs for all layers of a model.",
        lambda: Dense(3, rngs=KEY),
        lambda: [rngs := Rngs(0), Dense(3, rngs=rngs), Dense(3, rngs=rngs)],
    ),
    Remedy(
        "Write {}(..., rngs=nnx.Rngs(0)), with one Rngs for all layers of a model.",
        lambda: Dense(3),
        lambda: Dense(3, rngs=Rngs(0)),
    ),
    Remedy(
        "or call it with rngs=..., or with deterministic=True to drop nothing.",
        lambda: Dropping()(X),
        lambda: [
            Dropping(rngs=Rngs(0))(X),
            Dropping()(X, rngs=Rngs(0)),
            Dropping()(X, deterministic=True),
        ],
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []


def test_several_integers_are_a_sequence_a_set_or_an_array():
    given = [(1, 2), [1, 2], {1, 2}, range(1, 3), jnp.array([1, 2])]
    assert [integers(value, "axis") for value in given] == [(1, 2)] * 5


def test_the_error_of_an_initializer_shows_its_call():
    with pytest.raises(TypeError) as caught:
        Dense(2, rngs=Rngs(0), init=lambda key, shape: jnp.ones(shape))
    expected = (
        "A parameter of Dense is created by calling its initializer as <lambda>(key, (3, 2), "
    )
    assert expected + "float32)" in hints.told(caught.value)
