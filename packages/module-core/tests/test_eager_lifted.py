"""`init` outside `jit` with lifted transforms: draws inside them, and their bits.

Programs are compiled with all optimizations: rounding depends on them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from comparing import identical, near
from fixtures import programs_of_its_own as programs_of_its_own
from linnet.module_core.boxes import AxisMetadata
from linnet.module_core.errors import LinnetError
from linnet.module_core.linen import (
    Module,
    Repeat,
    compact,
    eager_init,
    remat,
    remat_scan,
    scan,
    vmap,
    with_partitioning,
)
from linnet.struct import PyTreeNode

INIT = jax.nn.initializers
KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3)


class Dense(Module):
    kernel_init: object = INIT.lecun_normal()
    features: int = 4

    @compact
    def __call__(self, x):
        return x @ self.param("kernel", self.kernel_init, (x.shape[-1], self.features))


def check(monkeypatch, body, key=KEY, *, eagerly=1):
    """Compares `init` with an eager `init`; the former runs the method `eagerly` times untraced."""
    runs = []

    def run(self, x):
        runs.append(isinstance(x + 0, jax.core.Tracer))
        return body(x)

    model = type("Model", (Module,), {"__call__": compact(run)})
    traced = model().init(key, X)
    assert runs == [True] + [False] * eagerly
    with monkeypatch.context() as patch:
        patch.setattr(eager_init, "may_trace", lambda *_: False)
        eager = model().init(key, X)
    identical(traced, eager)
    assert str(jax.tree.structure(traced)) == str(jax.tree.structure(eager))


class Layer(Module):
    """What a transform may get: draws, one of them in a box, constants, and a statistic."""

    is_step: bool = False

    @compact
    def __call__(self, x, _=None):
        kernel = self.param("kernel", INIT.lecun_normal(), (3, 3))
        boxed = self.param("boxed", with_partitioning(INIT.normal(), (None, "model")), (3, 3))
        bias = self.param("bias", INIT.zeros, (3,))
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(3)).value
        x = jnp.tanh(x @ kernel @ boxed + bias - mean)
        return (x, None) if self.is_step else x


STACKED = {"params": 0, "batch_stats": 0}
WRAP = {"metadata_params": {"partition_name": "layers"}}
BATCH = jnp.stack([X, X])


def looped(layer, axis=0, split=True):
    axes = {"params": axis, "batch_stats": 0}
    return scan(layer, variable_axes=axes, split_rngs={"params": split}, length=3, **WRAP)(True)


def batched(layer, split=True, **axes):
    return vmap(layer, variable_axes=STACKED | axes, split_rngs={"params": split}, **WRAP)


LIFTED = {
    "remat": lambda x: remat(Layer)()(remat(Layer)()(x)),
    "vmap": lambda x: batched(Layer)()(x[None]),
    "vmap that shares": lambda x: batched(Layer, False, params=None, batch_stats=None)()(x[None]),
    "vmap of identical layers": lambda x: batched(Layer, False, params=1)()(jnp.stack([x, x])),
    "scan": lambda x: looped(Layer)(x, None),
    "scan, last axis": lambda x: looped(Layer, -1)(x, None),
    "scan of remat": lambda x: looped(remat(Layer))(x, None),
    "Repeat": lambda x: Repeat(Layer, 3, axis_name="layers")(x),
    "Repeat as scan": lambda x: Repeat(Layer, 3, draws="scan")(x),
    "two kinds": lambda x: Repeat([Layer(), Dense(features=3)], 4)(x),
    "Repeat of Repeat": lambda x: Repeat(Repeat(Layer, 2), 3)(x),
    "scan in Repeat": lambda x: Repeat(Stack, 2)(x),
    "remat_scan": lambda x: remat_scan(Dense, (2, 2))(features=3)(x),
}


class Stack(Module):
    @compact
    def __call__(self, x):
        return looped(Layer)(x, None)[0]


@pytest.mark.parametrize("name", LIFTED)
def test_draws_inside_of_transforms(monkeypatch, name):
    check(monkeypatch, LIFTED[name], eagerly=0)


def test_a_generator_whose_bits_depend_on_the_batch(monkeypatch):
    def body(x):
        return batched(Layer)()(looped(remat(Layer))(x, None)[0][None])

    check(monkeypatch, body, jax.random.key(1, impl="rbg"), eagerly=0)


class Shift(Module):
    @compact
    def __call__(self, x):
        return x - self.param("shift", lambda key: x.mean(0))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: remat(Dense)(lambda key, shape: jax.random.normal(key, shape))(x),
        lambda x: remat(Shift)()(x),
    ],
)
def test_what_is_computed_in_a_transform_runs_eagerly(monkeypatch, body):
    check(monkeypatch, body)


def test_an_error_of_vmap_is_raised():
    class Model(Module):
        @compact
        def __call__(self, x):
            return batched(Layer, params=None)()(jnp.stack([x, x]))

    with pytest.raises(LinnetError, match="shared"):
        Model().init(KEY, X)


class Total(PyTreeNode, AxisMetadata):
    """A box for one value of all mapped modules: their sum."""

    value: Any

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self.replace(value=jnp.sum(self.value, index))

    def remove_axis(self, index, params):
        shape = (params["members"], *self.value.shape)
        return self.replace(value=jnp.broadcast_to(self.value / shape[0], shape))


def test_a_box_that_changes_its_value_with_the_axis():
    class Member(Module):
        @compact
        def __call__(self, x):
            self.param("drawn", lambda key: Total(jax.random.normal(key, (2,))))
            self.variable("state", "mass", lambda: Total(jnp.ones(2)))
            return x

    class Team(Module):
        @compact
        def __call__(self, x):
            axes = {"params": 0, "state": 0}
            options = {"split_rngs": {"params": True}, "metadata_params": {"members": 3}}
            return vmap(Member, variable_axes=axes, **options)(name="members")(x)

    made = Team().init(jax.random.key(0), jnp.zeros((3, 4)))
    compiled = jax.jit(Team().init)(jax.random.key(0), jnp.zeros((3, 4)))
    near(made["state"]["members"]["mass"].value, [3.0, 3.0])
    near(made["params"]["members"]["drawn"].value, compiled["params"]["members"]["drawn"].value)
