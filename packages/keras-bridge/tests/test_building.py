"""How weights are created: seeds, dtypes, given variables, when and where a layer is built."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import linen, nnx
from linnet.module_core.errors import ArgumentError

from .modules import Dense, Embed, Net, NNXNet, Norm

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X[:, :2]


def following(state):
    """The next state of Keras's generator, if it draws with `ordered=False`."""
    return ((state + 1) * 5387 % 933199).astype("uint32")


def values(layer):
    return [np.asarray(v.value) for v in layer.weights]


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("seed", [None, 11])
def test_initial_weights_follow_from_two_draws_of_keras_s_generator(seed):
    if seed is None:
        keras.utils.set_random_seed(4)
        state = np.asarray(keras.src.random.seed_generator.global_seed_generator().state.value)
    else:
        state = np.array([seed, 0], "uint32")
    layer = FlaxLayer(Net(), seed=seed)
    layer.build((None, 3))
    rngs = {"params": jnp.asarray(state), "dropout": jnp.asarray(following(state))}
    expected = Net().init(rngs, jnp.ones((1, 3)), training=True)
    stored = jax.tree.map(lambda v: v.value, {**layer.params, **layer.state})
    jax.tree.map(np.testing.assert_array_equal, stored, expected)


def test_the_keys_of_calls_are_the_layer_s_own_and_counted():
    layer = FlaxLayer(Net(), seed=9)
    layer(X)
    for n in range(3):
        variables = jax.tree.map(lambda v: v.value, {**layer.params, **layer.state})
        key = jnp.array([9, n], "uint32")
        expected, _ = Net().apply(
            variables, X, True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        np.testing.assert_array_equal(layer(X, training=True), expected)
    layer(X)
    assert layer.seed_generator.state.value.tolist() == [9, 3]


def test_a_seed_makes_a_layer_whatever_was_drawn_before():
    first, second = FlaxLayer(Net(), seed=1), FlaxLayer(Net(), seed=1)
    other = FlaxLayer(Net(), seed=2)
    for layer in (first, second, other):
        keras.random.normal((2,))
        layer.build((None, 3))
    assert_equal(values(first), values(second))
    assert_equal([first(X, training=True)], [second(X, training=True)])
    assert (values(first)[1] != values(other)[1]).any()


def test_keras_s_seed_makes_a_program():
    runs = []
    for _ in range(2):
        keras.utils.clear_session()  # in old versions, Keras seeds its generator once
        keras.utils.set_random_seed(5)
        layer = FlaxLayer(Net())
        model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0)
        runs.append([v.numpy() for v in model.variables])
    assert_equal(*runs)


def test_order_of_weights_is_jax_s():
    layer = FlaxLayer(Net())
    layer.build((None, 3))
    leaves = jax.tree.leaves(layer.params) + jax.tree.leaves(layer.state)
    assert [v.path for v in layer.weights] == [v.path for v in leaves]
    assert [tuple(v.shape) for v in layer.weights] == [(8,), (3, 8), (2,), (8, 2), (8,)]
    assert layer.variables[-1].path == layer.seed_generator.state.path


@pytest.mark.parametrize("inputs", ["Input", "call", "fit"])
def test_integers_are_initialized_with_as_integers(inputs):
    ids = np.array([[1, 2, 9], [3, 4, 0]], "int32")
    layers = [FlaxLayer(Embed()), keras.layers.Flatten(), keras.layers.Dense(2)]
    if inputs == "Input":
        layers.insert(0, keras.Input((3,), dtype="int32"))
    model = keras.Sequential(layers)
    if inputs == "call":
        model(ids)
    model.compile("sgd", "mse")
    model.fit(ids, np.ones((2, 2)), verbose=0)
    assert model.predict(ids, verbose=0).shape == (2, 2)


def test_dtypes_of_inputs_are_in_the_build_configuration():
    layer = FlaxLayer(Embed())
    layer(np.zeros((2, 3), "int16"))
    config = layer.get_build_config()
    assert config == {
        "input_shape": [2, 3],
        "input_dtypes": ["int16"],
        "takes_integers": False,
    }
    again = FlaxLayer(Embed())
    again.build_from_config(config)
    assert again.built
    assert [tuple(v.shape) for v in again.weights] == [(10, 4)]


def test_given_variables_are_copied():
    variables = Net().init(jax.random.key(0), X)
    kept = jax.tree.map(np.array, variables)
    layer = FlaxLayer(Net(), variables=variables)
    assert [tuple(v.shape) for v in layer.weights] == [(8,), (3, 8), (2,), (8, 2), (8,)]
    assert not layer.built
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    jax.tree.map(np.testing.assert_array_equal, variables, kept)
    assert (
        layer.params["params"]["Dense_0"]["kernel"].numpy() != kept["params"]["Dense_0"]["kernel"]
    ).any()


def test_given_numpy_arrays_and_half_precision_become_weights():
    variables = {"params": {"kernel": np.ones((3, 2), "float16"), "bias": np.zeros(2, "float16")}}
    layer = FlaxLayer(Dense(2), variables=variables)
    assert {v.dtype for v in layer.weights} == {"float32"}
    np.testing.assert_allclose(layer(X)[:, 0], X.sum(-1), rtol=1e-5)


def test_variables_that_are_another_module_s_raise_an_error_with_all_differences():
    variables = Net(features=4).init(jax.random.key(0), X)
    variables["params"]["Dense_7"] = variables["params"].pop("Dense_1")
    layer = FlaxLayer(Net(), variables=variables, name="net")
    with pytest.raises(ArgumentError) as error:
        layer(X)
    message = str(error.value)
    assert "net (FlaxLayer)" in message
    for line in (
        "batch_stats/Norm_0/mean: expected shape (8,), received (4,)",
        "params/Dense_0/bias: expected shape (8,), received (4,)",
        "params/Dense_0/kernel: expected shape (3, 8), received (3, 4)",
        "params/Dense_1/kernel: expected shape (8, 2), received nothing",
        "params/Dense_7/kernel: expected nothing, received shape (4, 2)",
    ):
        assert line in message


def test_a_layer_in_a_jitted_function_says_how_to_build_it():
    for layer in (FlaxLayer(Dense(2), name="late"), keras.Sequential([FlaxLayer(Dense(2))])):
        with pytest.raises(ArgumentError, match=r"(?s)transforms.*layer\.build\(input_shape\)"):
            jax.jit(layer)(X)


def test_a_built_layer_may_be_called_in_a_jitted_function():
    layer = FlaxLayer(Dense(2))
    expected = layer(X)
    np.testing.assert_allclose(jax.jit(layer)(X), expected, rtol=1e-6)


def test_models_without_inputs_are_built_by_fit():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = FlaxLayer(Net(), seed=3)

        def call(self, inputs, training=False):
            return self.net(inputs, training=training)

    alone = FlaxLayer(Net(), seed=3)
    alone.build((None, 3))
    for model in (Model(), keras.Sequential([FlaxLayer(Net(), seed=3)])):
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.fit(X, Y, verbose=0)
        assert_equal([v.numpy() for v in model.trainable_weights], values(alone)[:4])
        mean = model.non_trainable_weights[0].numpy()
        assert (mean != 0).all()


def test_a_module_without_variables():
    class Nothing(linen.Module):
        def __call__(self, inputs):
            return -inputs

    layer = FlaxLayer(Nothing())
    np.testing.assert_array_equal(layer(X), -X)
    assert layer.params == layer.state == {}
    assert layer.weights == []


def test_a_module_with_state_alone():
    layer = FlaxLayer(linen_counter())
    layer(X)
    assert layer.params == {}
    assert list(layer.state) == ["counter"]


def linen_counter():
    from .modules import Counter

    return Counter()


def test_boxes_and_random_keys_among_the_variables():
    class Boxed(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            init = linen.with_partitioning(jax.nn.initializers.ones, ("rows", None))
            kernel = self.param("kernel", init, (3, 2))
            key = self.variable("keys", "key", lambda: jax.random.key(3))
            key.value = jax.random.fold_in(key.value, 1)
            return inputs @ kernel + jax.random.normal(key.value, ())

    layer = FlaxLayer(Boxed())
    first, second = layer(X), layer(X)
    assert (first != second).all()
    assert isinstance(layer.params["params"]["kernel"], linen.Partitioned)
    assert layer.state["keys"]["key"].dtype == "uint32"


def test_weights_are_found_by_their_paths():
    linen_layer = FlaxLayer(Norm(), name="net")
    nnx_layer = NNXLayer(NNXNet(rngs=nnx.Rngs(0)), name="other")
    model = keras.Sequential([keras.Input((3,)), linen_layer, nnx_layer], name="model")
    for layer in (linen_layer, nnx_layer):
        expected = [*layer._weights.params.paths, *layer._weights.state.paths]
        prefix = f"model/{layer.name}" if layer is linen_layer else layer.name
        made = layer._weights.params.variables + layer._weights.state.variables
        assert [v.path for v in made] == [f"{prefix}/{path}" for path in expected]
    assert len({v.path for v in model.variables}) == len(model.variables)


def test_numbers_in_a_state_become_weights():
    class Odometer(linen.Module):
        start: int = 0

        @linen.compact
        def __call__(self, x):
            distance = self.variable("trip", "distance", lambda: self.start)
            distance.value = distance.value + 3
            return 2 * x

    x = np.ones((2, 3), "float32")
    given = FlaxLayer(Odometer(), variables={"trip": {"distance": 4, "scale": 0.5, "on": True}})
    assert [v.dtype for v in given.variables[:3]] == ["int32", "bool", "float32"]
    given = FlaxLayer(Odometer(), variables={"trip": {"distance": 4}})
    made = FlaxLayer(Odometer(1))
    for layer, after in ((given, 7), (made, 7)):
        np.testing.assert_array_equal(layer(x), 2 * x)
        assert int(layer.state["trip"]["distance"].value) == after


def as_numbers(x):
    """Uses the batch size in every way in which it has to be a number."""
    n = len(x)
    if n > 1:
        x = x.reshape(n, -1)
    rows = [x[i] for i in range(x.shape[0])]
    return jnp.stack(rows), x.sum(0, keepdims=True) / float(n), {"half": x[: n // 2]}


def call_linen(module, inputs):
    return as_numbers(module(inputs))


class Numbers(nnx.Module):
    def __init__(self, *, rngs):
        self.w = nnx.Param(jnp.ones((3, 2)))

    def __call__(self, inputs):
        return as_numbers(inputs @ self.w)


@pytest.mark.parametrize(
    "layer", [FlaxLayer(Dense(2), method=call_linen), NNXLayer(Numbers)], ids=["linen", "nnx"]
)
def test_a_module_may_compute_with_an_unknown_batch_size(layer):
    inputs = keras.Input((3,))
    rows, mean, halves = layer(inputs)
    assert (rows.shape, mean.shape, halves["half"].shape) == ((None, 2), (1, 2), (None, 2))
    model = keras.Model(inputs, keras.layers.Dense(2)(rows))
    model.compile("sgd", "mse")
    model.fit(X, Y, batch_size=4, verbose=0)
    assert model.predict(X, verbose=0).shape == (8, 2)


def test_an_error_with_an_unknown_batch_size_is_that_of_a_known_one():
    def fails(module, inputs):
        return inputs if len(inputs) == 1 else inputs.reshape(len(inputs), 2)

    with pytest.raises(TypeError, match=r"shape \(97, 3\) .*shape \(97, 2\)"):
        FlaxLayer(Dense(2), method=fails)(keras.Input((3,)))
    with pytest.raises(TypeError, match=r"shape \(5, 3\) .*shape \(5, 2\)"):
        FlaxLayer(Dense(2), method=fails)(keras.Input(batch_shape=(5, 3)))
