"""Normalization: the same results as Flax, bit for bit.

Each case is a norm built the same way from both libraries. Variables, outputs and new statistics
are compared bit by bit: eager with eager and jitted with jitted, since fusion changes rounding.
Gradients are compared up to rounding.

The last section covers the cases in which Linnet is meant to differ, because Flax's numbers are
NaN, weighted wrongly, or rounded to half precision along the way.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
import linnet.linen
from comparing import identical

KEY = jax.random.key(7)


def normal(*shape, dtype=jnp.float32):
    x = 1 + 2 * jax.random.normal(jax.random.key(len(shape)), shape, jnp.complex64)
    return x.astype(dtype) if dtype == jnp.complex64 else x.real.astype(dtype)


X = normal(3, 5, 4, 8)
MASK = jax.random.bernoulli(jax.random.key(3), 0.7, X.shape)


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-6, half=(0.02, 0.0))


def order(tree):
    return [(k, order(v)) for k, v in tree.items()] if isinstance(tree, dict) else None


def drawn(nn, name, fields):
    """A norm whose parameters are random numbers."""
    inits = {"scale_init": jax.nn.initializers.normal(0.5)}
    if name != "RMSNorm":
        inits["bias_init"] = jax.nn.initializers.normal(0.5)
    return getattr(nn, name)(**{**inits, **fields})


class Case(NamedTuple):
    name: str
    fields: dict[str, Any]
    x: Any = X
    mask: Any = None


bf16, f16, c64 = jnp.bfloat16, jnp.float16, jnp.complex64
TRAIN = {"use_running_average": False}
CASES = [
    Case("LayerNorm", {}),
    Case("LayerNorm", {"reduction_axes": (1, 2), "feature_axes": (-1, 1)}),
    Case("LayerNorm", {"reduction_axes": (0, 3), "use_bias": False, "epsilon": 1e-3}),
    Case("LayerNorm", {"use_fast_variance": False, "use_scale": False}),
    Case("LayerNorm", {}, mask=MASK),
    Case("LayerNorm", {}, mask=MASK[0] | True),
    Case("LayerNorm", {}, X.astype(bf16)),
    Case("LayerNorm", {"dtype": bf16}, X.astype(bf16)),
    Case("LayerNorm", {"dtype": f16, "param_dtype": bf16}),
    Case("LayerNorm", {"force_float32_reductions": False, "param_dtype": bf16}, X.astype(bf16)),
    Case("LayerNorm", {"force_float32_reductions": False, "dtype": f16}, X.astype(bf16), MASK),
    Case("LayerNorm", {}, normal(3, 4, 8, dtype=c64)),
    Case("LayerNorm", {"use_fast_variance": False}, normal(3, 4, 8, dtype=c64)),
    Case("LayerNorm", {"dtype": c64}),
    Case("LayerNorm", {"param_dtype": c64}),
    Case("LayerNorm", {}, jnp.arange(24).reshape(4, 6)),
    Case("LayerNorm", {"reduction_axes": (), "feature_axes": ()}),
    Case("RMSNorm", {}),
    Case("RMSNorm", {"reduction_axes": (1, 2), "feature_axes": (1, 2)}),
    Case("RMSNorm", {"use_fast_variance": False, "use_scale": False}),
    Case("RMSNorm", {}, mask=MASK),
    Case("RMSNorm", {"param_dtype": bf16}, X.astype(bf16)),
    Case("RMSNorm", {"force_float32_reductions": False, "param_dtype": bf16}, X.astype(bf16)),
    Case("RMSNorm", {}, normal(3, 4, 8, dtype=c64)),
    Case("GroupNorm", {"num_groups": 4}),
    Case("GroupNorm", {"num_groups": None, "group_size": 4}),
    Case("GroupNorm", {"num_groups": 2, "reduction_axes": (0, 1, -1)}),
    Case("GroupNorm", {"num_groups": 2, "reduction_axes": -1}),
    Case("GroupNorm", {"num_groups": 2, "use_fast_variance": False}),
    Case("GroupNorm", {"num_groups": 2}, X, MASK),
    Case("GroupNorm", {"num_groups": 2}, X.astype(bf16)),
    Case("GroupNorm", {"num_groups": 2}, X[0, 0, 0]),
    Case("GroupNorm", {"num_groups": 2}, normal(3, 4, 8, dtype=c64)),
    Case("InstanceNorm", {}),
    Case("InstanceNorm", {"feature_axes": (1, -1)}),
    Case("InstanceNorm", {"use_fast_variance": False}, X.astype(f16)),
    Case("InstanceNorm", {}, mask=MASK),
    Case("BatchNorm", TRAIN),
    Case("BatchNorm", {"use_running_average": True}),
    Case("BatchNorm", {**TRAIN, "axis": (3, 1), "momentum": 0.9}),
    Case("BatchNorm", {**TRAIN, "axis": 1, "use_fast_variance": False}),
    Case("BatchNorm", {**TRAIN, "use_bias": False, "use_scale": False}),
    Case("BatchNorm", TRAIN, X, MASK),
    Case("BatchNorm", TRAIN, X, MASK[:, :, :1, :1]),
    Case("BatchNorm", TRAIN, X.astype(bf16)),
    Case("BatchNorm", {**TRAIN, "dtype": bf16}, X.astype(bf16)),
    Case("BatchNorm", {"use_running_average": True, "dtype": bf16}, X.astype(bf16)),
    Case(
        "BatchNorm",
        {**TRAIN, "force_float32_reductions": False, "param_dtype": bf16},
        X.astype(bf16),
    ),
    Case("BatchNorm", TRAIN, normal(3, 4, 8, dtype=c64)),
    Case("BatchNorm", {**TRAIN, "use_fast_variance": False}, normal(3, 4, 8, dtype=c64)),
    Case("BatchNorm", {**TRAIN, "axis_name": "not there at init"}, X[0]),
    # One mean alone, of a number of values that isn't a power of 2.
    Case("LayerNorm", {}, normal(1, 7)),
    Case("RMSNorm", {}, normal(5)),
    Case("BatchNorm", TRAIN, normal(7, 1)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name} {c.fields} {c.x.dtype}")
def test_same_variables_and_numbers(case):
    ours, theirs = (drawn(nn, case.name, case.fields) for nn in (linnet.linen, flax.linen))
    mask = {} if case.mask is None else {"mask": case.mask}
    started = [m.init_with_output(KEY, case.x, **mask) for m in (ours, theirs)]
    identical(*started)
    variables = started[1][1]
    assert order(started[0][1]) == order(variables)
    if case.fields.get("axis_name"):
        return

    def step(module):
        def run(variables, x):
            return module.apply(variables, x, mutable=["batch_stats"], **mask)

        return run

    x = jnp.flip(case.x, -1)
    identical(step(ours)(variables, x), step(theirs)(variables, x))
    jitted = [jax.jit(step(m))(variables, x) for m in (ours, theirs)]
    if case.mask is None and x.dtype != c64:
        identical(*jitted)
    else:  # A mask's positions are counted once instead of twice, so XLA fuses different loops.
        near(*jitted, rtol=0.01 if x.dtype == bf16 else 2e-6)
    if "params" in variables:
        near(
            *(
                jax.jit(jax.grad(loss(step(m))))(variables["params"], variables, x)
                for m in (ours, theirs)
            ),
            **rounding(x),
        )


def loss(step):
    def value(params, variables, x):
        y, _ = step({**variables, "params": params}, x)
        return jnp.sum(jnp.sin(jnp.abs(y).astype(jnp.float32)))

    return value


def rounding(x):
    return {"rtol": 0.02, "atol": 0.05} if x.dtype.itemsize == 2 else {"rtol": 2e-5, "atol": 2e-5}


def test_a_named_axis():
    for name, fields in (
        ("BatchNorm", TRAIN),
        ("BatchNorm", {**TRAIN, "use_fast_variance": False}),
        ("LayerNorm", {}),
        ("RMSNorm", {}),
        ("GroupNorm", {"num_groups": 2}),
        ("InstanceNorm", {}),
    ):
        results = []
        for nn in (linnet.linen, flax.linen):
            module = drawn(nn, name, fields)
            variables = module.init(KEY, X[0])
            module = module.clone(axis_name="lanes")

            def lane(x, module=module, variables=variables):
                return module.apply(variables, x, mutable=["batch_stats"])

            results.append(jax.vmap(lane, axis_name="lanes")(X))
        identical(*results)


# Norms of weights. A model is a function from the library to a module.


def of_one(make):
    def model(nn):
        class Model(nn.Module):
            @nn.compact
            def __call__(self, x, train):
                layer = make(nn)
                options = {"update_stats": train} if type(layer).__name__ == "SpectralNorm" else {}
                return layer(nn.Dense(4)(x), **options)

        return Model()

    return model


def in_setup(nn):
    class Model(nn.Module):
        def setup(self):
            self.first = nn.Dense(4)
            self.second = nn.SpectralNorm(nn.Dense(3))
            self.third = nn.SpectralNorm(self.first, name="another")

        def __call__(self, x, train):
            x = self.third(x, update_stats=train)
            return self.second(x, update_stats=train)

    return Model()


def passed_unbound(nn):
    class Model(nn.Module):
        layer: Any

        @nn.compact
        def __call__(self, x, train):
            return self.layer(x, update_stats=train)

    return Model(nn.SpectralNorm(nn.Dense(4, name="dropped"), n_steps=2))


def called_twice_and_bare(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            dense = nn.Dense(4, name="dense")
            norm = nn.SpectralNorm(dense)
            return norm(x, update_stats=train) + norm(x, update_stats=False) + dense(x)

    return Model()


def around_a_network(nn):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(5)(x)
            x = nn.BatchNorm(use_running_average=not train)(x)
            return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.SpectralNorm(Network())(x, train, update_stats=train)

    return Model()


def one_around_another(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.SpectralNorm(nn.WeightNorm(nn.Dense(4)))(x, update_stats=train)

    return Model()


def alone(nn):
    return nn.SpectralNorm(nn.WeightNorm(nn.Dense(3), use_scale=False), collection_name="extra")


WRAPPED = {
    "spectral": of_one(lambda nn: nn.SpectralNorm(nn.Dense(3))),
    "spectral, steps": of_one(lambda nn: nn.SpectralNorm(nn.Dense(3), n_steps=4, epsilon=1e-3)),
    "spectral, no steps": of_one(lambda nn: nn.SpectralNorm(nn.Dense(3), n_steps=0)),
    "spectral, dtype": of_one(lambda nn: nn.SpectralNorm(nn.Dense(3), dtype=bf16)),
    "spectral, param_dtype": of_one(lambda nn: nn.SpectralNorm(nn.Dense(3), param_dtype=bf16)),
    "spectral, narrow": of_one(lambda nn: nn.SpectralNorm(nn.Dense(3, param_dtype=bf16))),
    "spectral, general": of_one(lambda nn: nn.SpectralNorm(nn.DenseGeneral((2, 3)))),
    "weight": of_one(lambda nn: nn.WeightNorm(nn.Dense(3))),
    "weight, all": of_one(
        lambda nn: nn.WeightNorm(
            nn.Dense(3), variable_filter=None, scale_init=nn.initializers.normal()
        )
    ),
    "weight, path": of_one(lambda nn: nn.WeightNorm(nn.Dense(3), variable_filter=["_1/b"])),
    "weight, no match": of_one(lambda nn: nn.WeightNorm(nn.Dense(3), variable_filter={"x"})),
    "weight, one length": of_one(lambda nn: nn.WeightNorm(nn.Dense(3), feature_axes=None)),
    "weight, axes": of_one(lambda nn: nn.WeightNorm(nn.Dense(3), feature_axes=(-1, 0))),
    "weight, no scale": of_one(lambda nn: nn.WeightNorm(nn.Dense(3), use_scale=False)),
    "weight, param_dtype": of_one(lambda nn: nn.WeightNorm(nn.Dense(3), param_dtype=bf16)),
    "in setup": in_setup,
    "passed unbound": passed_unbound,
    "called twice and bare": called_twice_and_bare,
    "around a network": around_a_network,
    "one around another": one_around_another,
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("model", WRAPPED.values(), ids=WRAPPED)
def test_same_wrapped_layers(model, train):
    ours, theirs = model(linnet.linen), model(flax.linen)
    rngs = {"params": KEY, "dropout": jax.random.key(9)}
    x = X[0, 0]
    started = [m.init_with_output(rngs, x, train) for m in (ours, theirs)]
    identical(*started)
    assert list(started[0][1]) == list(started[1][1])
    variables = started[1][1]
    for mutable in (["batch_stats"], True):
        identical(
            *(m.apply(variables, x, train, mutable=mutable, rngs=rngs) for m in (ours, theirs))
        )

    def gradient(module):
        def loss(params):
            y, _ = module.apply(
                {**variables, "params": params}, x, train, mutable=["batch_stats"], rngs=rngs
            )
            return jnp.sum(jnp.sin(y))

        return jax.jit(jax.value_and_grad(loss))(variables["params"])

    near(gradient(ours), gradient(theirs))


def test_a_wrapped_layer_at_the_top():
    started = [alone(nn).init(KEY, X[0, 0], update_stats=True) for nn in (linnet.linen, flax.linen)]
    identical(*started)
    for update_stats in (True, False):
        identical(
            *(
                alone(nn).apply(started[1], X[0, 0], update_stats=update_stats, mutable=["extra"])
                for nn in (linnet.linen, flax.linen)
            )
        )


# Intended differences.


def test_a_row_that_is_all_padding_has_numbers():
    mask = MASK.at[0, 0, 0].set(False)
    ours, theirs = (
        nn.LayerNorm().init_with_output(KEY, X, mask=mask)[0] for nn in (linnet.linen, flax.linen)
    )
    assert np.isnan(theirs[0, 0, 0]).all()
    assert np.isfinite(ours).all()
    identical(ours[1:], theirs[1:])


def test_masks_that_leave_more_on_one_device_than_on_another():
    x, mask = X[..., 0].reshape(3, 20, 1), MASK[..., 0].reshape(3, 20, 1).at[0, 5:].set(False)
    means = []
    for nn in (linnet.linen, flax.linen):
        module = nn.BatchNorm(use_running_average=False, momentum=0.0, axis_name="lanes")
        variables = module.init(KEY, x[0])

        def lane(x, mask, module=module, variables=variables):
            return module.apply(variables, x, mask=mask, mutable=["batch_stats"])[1]

        updates = jax.vmap(lane, axis_name="lanes")(x, mask)
        means.append(float(updates["batch_stats"]["mean"][0, 0]))
    correct = float(np.mean(np.asarray(x), where=np.asarray(mask)))
    assert abs(means[0] - correct) < 1e-5
    assert abs(means[1] - correct) > 1e-2


def test_norms_of_half_precision_weights_are_taken_in_float32():
    def model(nn):
        return nn.WeightNorm(nn.Dense(64, param_dtype=bf16, use_bias=False))

    def errors(nn):
        kernel = model(nn).init(KEY, X)["params"]["layer_instance"]["kernel"]
        return abs(np.linalg.norm(np.float64(kernel), axis=0) - 1).max()

    assert errors(linnet.linen) < 1e-6 < 1e-4 < errors(flax.linen)


def test_norms_of_complex_weights_are_lengths():
    def length(nn):
        layer = nn.WeightNorm(nn.Dense(3, param_dtype=c64))
        kernel = layer.init(KEY, X)["params"]["layer_instance"]["kernel"]
        return np.linalg.norm(kernel, axis=0)

    np.testing.assert_allclose(length(linnet.linen), 1, rtol=1e-5)
    assert abs(length(flax.linen) - 1).max() > 0.01


def test_weight_norm_normalizes_parameters_alone():
    """Flax mistakes a wrapped BatchNorm's running averages for weights, and cannot update them."""

    def model(nn):
        return nn.WeightNorm(nn.BatchNorm(use_running_average=False), variable_filter=None)

    ours, theirs = (model(nn).init(KEY, X)["params"] for nn in (linnet.linen, flax.linen))
    assert set(theirs) - set(ours) == {"layer_instance/mean/scale", "layer_instance/var/scale"}
    variables = model(linnet.linen).init(KEY, X)
    _, updates = model(linnet.linen).apply(variables, X, mutable=["batch_stats"])
    assert (updates["batch_stats"]["layer_instance"]["mean"] != 0).all()
