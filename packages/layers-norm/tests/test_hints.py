"""Every hint of this package, followed to the letter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.layers_norm import functional, linen, nnx
from linnet.module_core import linen as core
from linnet.module_core import nnx as nnx_core
from linnet.module_core.nnx import Rngs

SOURCES = Path(functional.__file__).parents[1]
KEY = jax.random.key(0)
X = jnp.ones((2, 4, 3))
ONES, ZEROS = jnp.ones(3), jnp.zeros(3)


class Dense(core.Module):
    features: int

    @core.compact
    def __call__(self, x):
        return x @ self.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], self.features))


class Linear(nnx_core.Module):
    def __init__(self, n_in, n_out, *, rngs):
        self.kernel = nnx_core.Param(rngs.params.normal((n_in, n_out)))

    def __call__(self, x):
        return x @ self.kernel


def init(module, x=X):
    return jax.eval_shape(lambda: module.init(KEY, x))  # checks it all, and compiles nothing


def groups(**options):
    return functional.group_norm(jnp.ones((2, 64)), **options)


def synchronized(axis_name):
    layer = linen.BatchNorm(use_running_average=False, axis_name=axis_name)
    return layer.init(KEY, X)  # a plain call


def synchronized_under_vmap(axis_name):
    layer = linen.BatchNorm(use_running_average=False, axis_name=axis_name)
    variables = layer.init(KEY, X[0])
    run = jax.vmap(lambda x: layer.apply(variables, x, mutable=["batch_stats"])[0], axis_name="i")
    return run(X)


def momentum(value):
    layer = linen.BatchNorm(use_running_average=False, momentum=value)
    return layer.init(KEY, X)


def wrapped(wrapper, change=lambda layer: None):
    layer = Linear(3, 4, rngs=Rngs(0))
    normed = wrapper(layer, rngs=Rngs(0))
    change(layer)
    return normed(X)


def wrapped_after(wrapper, change):
    layer = Linear(3, 4, rngs=Rngs(0))
    change(layer)
    return wrapper(layer, rngs=Rngs(0))(X)


def add_parameter(layer):
    layer.other = Linear(2, 2, rngs=Rngs(0))


def assign_array(layer):
    layer.kernel = jnp.ones((3, 4))


def write_array(layer):
    layer.kernel[...] = jnp.ones((3, 4))


def assign_parameter(layer):
    layer.kernel = nnx_core.Param(jnp.ones((3, 4)))


REMEDIES = [
    Remedy(
        "Channels are the inputs' last axis. Divisors of {}: {}.",
        lambda: groups(num_groups=3),
        lambda: [groups(num_groups=n) for n in (1, 2, 4, 8, 16, 32, 64)],
        filled=("64", "1, 2, 4, 8, 16, 32, 64"),
    ),
    Remedy(
        "Channels are the inputs' last axis. Divisors of {}: {}.",
        lambda: groups(num_groups=None, group_size=3),
        lambda: [groups(num_groups=None, group_size=n) for n in (1, 2, 4, 8, 16, 32, 64)],
    ),
    Remedy(
        "and one mask value for each time step, pass mask[:, :, None].",
        lambda: functional.layer_norm(X, mask=jnp.ones((2, 4), bool)),
        lambda: functional.layer_norm(X, mask=jnp.ones((2, 4), bool)[:, :, None]),
    ),
    Remedy(
        "On one device, or under plain jax.jit with sharded arrays, leave axis_name out.",
        lambda: linen.BatchNorm(use_running_average=False, axis_name="i").apply(
            synchronized(None), X, mutable=["batch_stats"]
        ),
        lambda: [synchronized(None), synchronized_under_vmap("i")],
    ),
    Remedy(
        "It is the weight of the old average: 0.99 by default, 0.9 to adapt faster.",
        lambda: momentum(99),
        lambda: [momentum(0.99), momentum(0.9)],
    ),
    Remedy(
        "It must have the inputs' sizes along the feature axes, in ascending order.",
        lambda: functional.layer_norm(X, jnp.ones(4)),
        lambda: functional.layer_norm(X, ONES),
    ),
    Remedy(
        "Leave dtype out, or give complex64 or complex128.",
        lambda: functional.layer_norm(X + 0j, dtype=jnp.float32),
        lambda: [functional.layer_norm(X + 0j), functional.layer_norm(X + 0j, dtype="complex64")],
    ),
    Remedy(
        "It must have the inputs' sizes along the feature axes. Are these another layer's",
        lambda: functional.batch_norm(X, jnp.zeros(4), jnp.ones(4)),
        lambda: functional.batch_norm(X, ZEROS, ONES),
    ),
    Remedy(
        "num_groups is 32 by default: pass num_groups=None along with group_size.",
        lambda: init(linen.GroupNorm(group_size=4), jnp.ones((2, 64))),
        lambda: init(linen.GroupNorm(num_groups=None, group_size=4), jnp.ones((2, 64))),
    ),
    Remedy(
        "Add a batch dimension, e.g. with x[None], or name other axes.",
        lambda: functional.instance_norm(X[0], feature_axes=(0, 1)),
        lambda: [
            functional.instance_norm(X[0][None], feature_axes=-1),
            functional.instance_norm(X[0], feature_axes=1),
        ],
    ),
    Remedy(
        "Without it, all dimensions but the last are flattened into one",
        lambda: functional.spectral_norm(X, ONES[None], error_on_non_matrix=True),
        lambda: functional.spectral_norm(X, ONES[None]),
    ),
    Remedy(
        "It must have the weights' sizes along the feature axes, in ascending order.",
        lambda: functional.weight_norm(X[0], jnp.ones(4)),
        lambda: functional.weight_norm(X[0], ONES),
    ),
    Remedy(
        "(nn.Dense(4)).",
        lambda: init(linen.WeightNorm(Dense)),
        lambda: init(linen.WeightNorm(Dense(4))),
    ),
    Remedy(
        "Only modules have parameters for",
        lambda: init(linen.WeightNorm(3)),
        lambda: init(linen.WeightNorm(Dense(4))),
    ),
    Remedy(
        "Write {{}}.",
        lambda: init(linen.WeightNorm(Dense(4), variable_filter="kernel")),
        lambda: init(linen.WeightNorm(Dense(4), variable_filter={"kernel"})),
    ),
    Remedy(
        "(nnx.Linear(3, 4, rngs=rngs), rngs=rngs).",
        lambda: nnx.WeightNorm(Linear, rngs=Rngs(0)),
        lambda: wrapped(nnx.WeightNorm),
    ),
    Remedy(
        "Assign the value to the parameter, layer.kernel[...] = array, or replace the parameter",
        lambda: wrapped(nnx.WeightNorm, assign_array),
        lambda: [wrapped(nnx.WeightNorm, write_array), wrapped(nnx.WeightNorm, assign_parameter)],
    ),
    *(
        Remedy(
            "Wrap the layer once it has all its parameters.",
            lambda wrapper=wrapper: wrapped(wrapper, add_parameter),
            lambda wrapper=wrapper: wrapped_after(wrapper, add_parameter),
        )
        for wrapper in (nnx.WeightNorm, nnx.SpectralNorm)
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
