"""The documentation of FlaxLayer, sentence by sentence, and its two examples, in `fit`."""

import inspect
import sys

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer
from linnet.module_core import linen

from .modules import Coder, Counter, Dense, Net, Two, forward_two

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :2] * 2


def fitted(layer, x=X, y=Y, **options):
    if isinstance(x, dict):
        inputs = {name: keras.Input(a.shape[1:], name=name) for name, a in x.items()}
    else:
        inputs = jax.tree.map(lambda a: keras.Input(a.shape[1:]), x)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(0.01), "mse", **options)
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    return model


def test_signature():
    parameters = inspect.signature(FlaxLayer).parameters
    assert list(parameters)[:3] == ["module", "method", "variables"]
    assert parameters["method"].default is None
    assert parameters["variables"].default is None
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


def test_it_is_a_layer_of_keras_that_takes_the_arguments_of_one():
    layer = FlaxLayer(Dense(2), name="mine", dtype="float32", trainable=False)
    assert isinstance(layer, keras.Layer)
    assert (layer.name, layer.trainable, layer.compute_dtype) == ("mine", False, "float32")


def test_first_example_a_module_whose_call_takes_no_training():
    """This model computes the example's steps without linen's layers, which are in another
    package."""

    class Classifier(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            x = inputs
            kernel = self.param("kernel", jax.nn.initializers.lecun_normal(), (3, 3, 1, 4))
            numbers = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
            x = jax.nn.relu(x)
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
            x = x.reshape((x.shape[0], -1))  # flatten
            x = Dense(features=20)(x)
            x = jax.nn.relu(x)
            x = Dense(features=10)(x)
            return jax.nn.softmax(x)

    layer = FlaxLayer(Classifier())
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32")
    model = keras.Sequential([keras.Input((6, 6, 1)), layer])
    model.compile("adam", "sparse_categorical_crossentropy")
    before = layer.get_weights()
    model.fit(images, np.arange(8), verbose=0)
    assert model.predict(images, verbose=0).sum(-1) == pytest.approx(np.ones(8))
    assert all((a != b).any() for a, b in zip(before, layer.get_weights(), strict=True))


def test_second_example_a_function_that_wraps_a_method():
    layer = FlaxLayer(module=Two(), method=forward_two)
    model = fitted(layer, (X, Y), Y)
    quiet = layer([X, Y], training=False)
    np.testing.assert_array_equal(quiet, layer([X, Y], training=False))
    assert (quiet != layer([X, Y], training=True)).any()
    np.testing.assert_allclose(model.predict((X, Y), verbose=0), quiet, rtol=1e-5, atol=1e-6)


def test_the_method_is_call_unless_another_is_given():
    coder = Coder()
    assert FlaxLayer(coder)(X).shape == (16, 5)
    for method in (coder.encode, Coder.encode, "encode"):
        assert FlaxLayer(coder, method)(X).shape == (16, 3)


def test_inputs_are_an_array_or_a_tree_of_arrays():
    class Sum(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            return sum(Dense(2)(x) for x in jax.tree.leaves(inputs))

    for tree in (X, [X, Y], (X, Y), {"b": X, "a": Y}):
        assert fitted(FlaxLayer(Sum()), tree, Y).predict(tree, verbose=0).shape == (16, 2)
    assert FlaxLayer(Sum())({"b": X, "a": {"c": [Y, Y]}}).shape == (16, 2)


def test_training_is_true_in_training_and_only_then():
    seen = []

    class Watching(linen.Module):
        @linen.compact
        def __call__(self, inputs, training):
            seen.append(training)
            return Dense(2)(inputs)

    layer = FlaxLayer(Watching())
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile("sgd", "mse")
    assert seen[0] is True  # init
    seen.clear()
    model.fit(X, Y, verbose=0)
    assert seen[-1] is True  # before it, Keras infers shapes
    seen.clear()
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    layer(X)
    assert set(seen) == {False}


def test_a_method_without_training_is_not_given_any():
    assert not FlaxLayer(Dense(2))._method.takes_training
    assert FlaxLayer(Dense(2))(X, training=True).shape == (16, 2)


def test_state_and_random_keys_are_taken_care_of():
    layer = FlaxLayer(Net())
    model = fitted(layer)
    mean = layer.state["batch_stats"]["Norm_0"]["mean"]
    assert np.any(mean.numpy() != 0)
    stored = mean.numpy()
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    np.testing.assert_array_equal(mean.numpy(), stored)
    assert (layer(X, training=True) != layer(X, training=True)).any()  # a new key each time


def test_all_collections_but_params_are_non_trainable_weights():
    class Many(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            self.variable("cache", "index", jnp.zeros, (), "int32")
            self.variable("batch_stats", "mean", jnp.zeros, (3,))
            return Dense(2)(inputs)

    layer = FlaxLayer(Many())
    layer.build((None, 3))
    assert sorted(layer.params) == ["params"]
    assert sorted(layer.state) == ["batch_stats", "cache"]
    assert [tuple(v.shape) for v in layer.trainable_weights] == [(2,), (3, 2)]
    assert [v.dtype for v in layer.non_trainable_weights] == ["float32", "int32"]
    assert all(v.trainable for v in layer.trainable_weights)


def test_state_is_mutable_in_every_call():
    layer = FlaxLayer(Counter())
    for _ in range(3):
        layer(X)
    assert int(layer.state["counter"]["calls"].value) == 4  # and once in init


def test_variables_are_those_that_init_returns():
    module = Net()
    variables = module.init(jax.random.key(7), X)
    layer = FlaxLayer(module, variables=variables)
    np.testing.assert_array_equal(layer(X), module.apply(variables, X))
    stored = jax.tree.map(lambda v: v.value, {**layer.params, **layer.state})
    jax.tree.map(np.testing.assert_array_equal, stored, variables)


def test_without_variables_init_makes_them_when_the_layer_is_built():
    layer = FlaxLayer(Net())
    assert not layer.built
    assert not layer.weights
    layer.build((None, 3))
    assert layer.built
    assert len(layer.weights) == 5


def test_everything_so_far_ran_without_tensorflow():
    assert not any(name.partition(".")[0] == "tensorflow" for name in sys.modules)
