"""What a call does with state, keys, dtypes and sown values."""

import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer
from linnet.module_core import linen

from .modules import Counter, Dense, Dropout, Net, Norm, Sowing

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X[:, :2]


def model_of(*layers, **options):
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("sgd", "mse", **options)
    return model


@pytest.mark.parametrize("options", [{}, {"jit_compile": False}, {"run_eagerly": True}])
def test_state_changes_in_fit_and_in_direct_calls_alone(options):
    layer = FlaxLayer(Counter())
    model = model_of(layer, keras.layers.Dense(2), **options)

    def calls():
        return int(layer.state["counter"]["calls"].value)

    assert calls() == 1
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    model.test_on_batch(X, Y)
    model.predict_on_batch(X)
    assert calls() == 1
    model.fit(X, Y, batch_size=4, verbose=0)
    assert calls() == 3
    model.train_on_batch(X, Y)
    assert calls() == 4
    layer(X)
    model(X)
    model(X, training=True)
    assert calls() == 7


def test_statistics_are_those_of_the_module_alone():
    layer = FlaxLayer(Norm())
    model = model_of(layer, keras.layers.Dense(2))
    module, state = Norm(), {"batch_stats": {"mean": jnp.zeros(3)}}
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    for batch in (X[:4], X[4:]):
        _, state = module.apply(state, batch, True, mutable=["batch_stats"])
    np.testing.assert_allclose(
        layer.state["batch_stats"]["mean"].numpy(), state["batch_stats"]["mean"], rtol=1e-5
    )


def test_stateless_calls_return_the_state_instead_of_assigning_it():
    layer = FlaxLayer(Net())
    layer.build((None, 3))
    trainable = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    _, updated = layer.stateless_call(trainable, others, X, training=True)
    assert (updated[0] != others[0]).any()
    np.testing.assert_array_equal(layer.non_trainable_variables[0].value, others[0])


def test_no_keys_are_drawn_at_inference():
    layer = FlaxLayer(Net())
    before = np.asarray(layer.seed_generator.state.value)
    model = model_of(layer)
    model.predict(X, verbose=0)
    layer(X)
    np.testing.assert_array_equal(layer.seed_generator.state.value, before)
    model.fit(X, Y, batch_size=4, verbose=0)
    assert layer.seed_generator.state.value.tolist() == [before[0], 2]


def test_what_is_sown_is_dropped_with_one_warning():
    layer = FlaxLayer(Sowing(), name="mine")
    with pytest.warns(UserWarning, match=r"mine \(FlaxLayer\).*intermediates/seen.*return"):
        layer(X)
    layer(X, training=True)  # a second warning would be an error
    model = model_of(layer)
    model.fit(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert layer.state == {}
    assert len(layer.weights) == 2


def test_what_is_sown_can_be_returned_as_the_warning_says():
    def function(module, inputs):
        return module(inputs), module.get_variable("intermediates", "seen")

    layer = FlaxLayer(Sowing(), function)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _, (seen,) = layer(X)
    np.testing.assert_array_equal(seen, X)


def test_tuples_that_are_state_are_kept():
    class Carry(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            carry = self.variable("carry", "c", lambda: (jnp.zeros(()), jnp.ones(())))
            carry.value = (carry.value[0] + 1, carry.value[1] * 2)
            return inputs

    layer = FlaxLayer(Carry())
    for _ in range(2):
        layer(X)
    assert [float(v.value) for v in layer.weights] == [3.0, 8.0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_policies_do_what_they_do_for_keras_s_layers(policy):
    ours, theirs = FlaxLayer(Dense(2), dtype=policy), keras.layers.Dense(2, dtype=policy)
    seen = []

    class Watching(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            kernel = self.param("kernel", jax.nn.initializers.ones, (3, 2))
            stored = self.variable("cache", "number", jnp.zeros, (), "float32")
            seen.append((inputs.dtype, kernel.dtype, stored.value.dtype))
            return inputs @ kernel

    watching = FlaxLayer(Watching(), dtype=policy)
    outputs = [layer(X) for layer in (ours, theirs, watching)]
    assert len({y.dtype for y in outputs}) == 1
    variable_dtypes = {v.dtype for layer in (ours, theirs, watching) for v in layer.weights}
    assert variable_dtypes == {theirs.variable_dtype}
    compute = jnp.dtype(theirs.compute_dtype)
    assert seen[-1] == (compute, compute, jnp.dtype(theirs.variable_dtype))


def test_a_model_of_mixed_precision_trains():
    layer = FlaxLayer(Net(), dtype="mixed_float16")
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2, dtype="float32")])
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05)), "mse")
    losses = model.fit(X, Y, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert {v.dtype for v in layer.weights} == {"float32"}


def test_a_layer_that_is_not_trainable_is_fixed():
    layer = FlaxLayer(Net())
    model = model_of(layer, keras.layers.Dense(2))
    layer.trainable = False
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 5
    model.compile("sgd", "mse")
    before = layer.get_weights()
    expected = np.asarray(layer(X))
    model.fit(X, Y, verbose=0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(layer(X, training=True), expected)
    layer.trainable = True
    assert len(layer.trainable_weights) == 4
    assert (layer(X, training=True) != expected).any()


def test_one_layer_in_two_places_has_one_set_of_weights():
    layer = FlaxLayer(Dense(3))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layer(layer(inputs)))
    assert len(model.weights) == 2
    np.testing.assert_allclose(model.predict(X, verbose=0), layer(layer(X)), rtol=1e-5, atol=1e-6)


def test_a_layer_inside_a_layer_of_keras():
    sequence = np.ones((4, 5, 3), "float32")
    layer = FlaxLayer(Dense(2))
    outputs = keras.layers.TimeDistributed(layer)(sequence)
    np.testing.assert_allclose(outputs, layer(sequence), rtol=1e-6)


def test_keras_s_layers_before_it_and_behind_it_get_their_gradients():
    first, last = keras.layers.Dense(3), keras.layers.Dense(2)
    model = model_of(first, FlaxLayer(Dense(4)), last)
    before = [layer.get_weights()[0] for layer in (first, last)]
    model.fit(X, Y, verbose=0)
    after = [layer.get_weights()[0] for layer in (first, last)]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_a_dropout_alone():
    layer = FlaxLayer(Dropout(0.5), seed=0)
    dropped = np.asarray(layer(np.ones((100, 3)), training=True))
    assert set(np.unique(dropped)) == {0.0, 2.0}
    np.testing.assert_array_equal(layer(X), X)
