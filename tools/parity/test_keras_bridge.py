"""Keras's own FlaxLayer around Flax's modules: the same weights, order, names and numbers."""

import os
import tempfile
from types import SimpleNamespace

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="linnet-keras-"))

import flax.linen
import keras
import numpy as np
import pytest

import linnet.linen
from linnet.keras_bridge import FlaxLayer

BOTH = [flax.linen, linnet.linen]
RNG = np.random.default_rng(0)


def dense(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return nn.Dense(2)(nn.relu(nn.Dense(8)(inputs)))

    return Net()


def cnn(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs, training):
            x = nn.Conv(3, (3, 3), use_bias=False)(inputs)
            x = nn.BatchNorm(use_running_average=not training, momentum=0.9)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), (2, 2)).reshape(x.shape[0], -1)
            x = nn.Dropout(0.5, deterministic=not training)(x)
            return nn.Dense(4)(x)

    return Net()


def rnn(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs, training=False):
            cell = nn.GRUCell(5, activation_fn=nn.relu)  # computed step by step, so bit for bit
            x = nn.Embed(7, 4)(inputs["ids"].astype("int32"))
            x = nn.RNN(cell)(x + inputs["x"])
            return nn.Dropout(0.3, deterministic=not training)(x), x[:, -1]

    return Net()


def images():
    return RNG.normal(size=(6, 6, 6, 2)).astype("float32")


NETS = {
    "dense": (dense, lambda: RNG.normal(size=(6, 3)).astype("float32")),
    "cnn": (cnn, images),
    "rnn": (
        rnn,
        lambda: {
            "ids": RNG.integers(0, 7, (6, 3)).astype("float32"),
            "x": RNG.normal(size=(6, 3, 4)).astype("float32"),
        },
    ),
}


pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    # A warning of Keras versions from before numpy 2, about copies of arrays.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch):
    """Keras's layer asks TensorFlow, which isn't installed, whether it is tracing."""
    from keras.src.utils import jax_layer

    monkeypatch.setattr(jax_layer, "tf", SimpleNamespace(inside_function=lambda: False))


def made(nn, net, **kwargs):
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    layer_type = keras.layers.FlaxLayer if nn is flax.linen else FlaxLayer
    return layer_type(net(nn), **kwargs)


def assert_same(ours, theirs):
    ours, theirs = keras.tree.flatten(ours), keras.tree.flatten(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def described(layer):
    # Ours are named by the module's paths; those of Keras's layer are variable, variable_1, ...
    return [(tuple(v.shape), v.dtype, v.trainable) for v in layer.variables]


@pytest.mark.parametrize("name", NETS)
def test_layer(name):
    net, make_inputs = NETS[name]
    inputs = make_inputs()
    results = []
    for nn in BOTH:
        layer = made(nn, net)
        calls = [layer(inputs), layer(inputs, training=True), layer(inputs, training=True)]
        calls.append(layer(inputs, training=False))
        results.append((layer, calls))
    (theirs, their_calls), (ours, our_calls) = results
    assert described(ours) == described(theirs)
    assert len(ours.weights) == len(theirs.weights)
    assert_same([v.value for v in ours.variables], [v.value for v in theirs.variables])
    assert_same(our_calls, their_calls)
    is_variable = lambda tree: keras.tree.map_structure(lambda v: tuple(v.shape), tree)  # noqa: E731
    assert is_variable(ours.params) == is_variable(theirs.params)
    assert is_variable(ours.state) == is_variable(theirs.state)


@pytest.mark.parametrize("name", ["dense", "cnn"])
def test_fit(name):
    net, make_inputs = NETS[name]
    inputs = make_inputs()
    targets = RNG.integers(0, 2, len(inputs))
    results = []
    for nn in BOTH:
        layer = made(nn, net)
        model = keras.Sequential([keras.Input(inputs.shape[1:]), layer, keras.layers.Dense(2)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss)
        history = model.fit(inputs, targets, batch_size=3, epochs=2, verbose=0)
        results.append((model, history.history["loss"], model.predict(inputs, verbose=0)))
    (theirs, their_loss, their_outputs), (ours, our_loss, our_outputs) = results
    assert our_loss == their_loss
    assert_same([v.value for v in ours.variables], [v.value for v in theirs.variables])
    assert_same(our_outputs, their_outputs)


def test_variables_that_were_given():
    inputs = images()
    variables = cnn(linnet.linen).init(
        {"params": keras.random.SeedGenerator(1).next()}, inputs, False
    )
    results = [made(nn, cnn, variables=variables) for nn in BOTH]
    theirs, ours = ([layer, layer.built, layer(inputs)] for layer in results)
    assert ours[1] is theirs[1] is False
    assert described(ours[0]) == described(theirs[0])
    assert_same(ours[2], theirs[2])


def test_functions_and_bound_methods():
    inputs = images()
    results = []
    for nn in BOTH:

        def function(module, inputs, training):
            return module(inputs * 2, training)

        net = cnn(nn)
        layers = [made(nn, lambda _, net=net: net, method=m) for m in (function, net.__call__)]
        results.append([layer(inputs, training=True) for layer in layers])
    assert_same(results[1], results[0])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "bfloat16"])
def test_policies_give_weights_the_same_dtypes(policy):
    inputs = images()
    theirs, ours = (made(nn, cnn, dtype=policy) for nn in BOTH)
    outputs = [layer(inputs).dtype for layer in (theirs, ours)]
    assert [v.dtype for v in ours.variables] == [v.dtype for v in theirs.variables]
    assert outputs[0] == outputs[1]
