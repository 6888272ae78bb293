"""NNXLayer: training, weights and configurations of an nnx module."""

import functools
import json

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from linnet.keras_bridge import NNXLayer
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError

from .modules import Linear, NNXNet, make_nnx_net, twice

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X[:, :2]


def net(**kwargs):
    return NNXNet(rngs=nnx.Rngs(0), **kwargs)


def numbers(module):
    def plain(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    return [np.asarray(plain(x)) for x in jax.tree.leaves(nnx.to_pure_dict(nnx.state(module)))]


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def model_of(layer):
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


def test_params_are_trainable_and_everything_else_is_state():
    layer = NNXLayer(net())
    kernels = [f"layers/{i}/{name}" for i in (0, 1) for name in ("bias", "kernel")]
    assert sorted(layer.params) == kernels
    assert sorted(layer.state) == ["drop/rngs/count", "drop/rngs/key", "norm/mean"]
    assert [v.path for v in layer.trainable_weights] == [layer.params[n].path for n in kernels]
    assert all(v.dtype == "float32" for v in layer.trainable_weights)
    assert [layer.state[n].dtype for n in sorted(layer.state)] == ["uint32", "uint32", "float32"]


def test_it_computes_what_the_module_computes():
    module = net()
    layer = NNXLayer(module)
    trained = nnx.clone(module)
    trained.train()
    for _ in range(3):  # statistics and keys advance in the same way
        np.testing.assert_array_equal(layer(X, training=True), trained(X))
    trained.eval()
    np.testing.assert_array_equal(layer(X), trained(X))
    assert_equal(numbers(layer.module()), numbers(trained))


def test_the_module_that_was_given_is_left_alone():
    module = net()
    module.drop.deterministic = True
    before, attributes = numbers(module), dict(vars(module.drop))
    layer = NNXLayer(module)
    layer(X, training=True)
    model_of(layer).fit(X, Y, verbose=0)
    assert_equal(numbers(module), before)
    assert vars(module.drop) == attributes
    assert not any(x.is_deleted() for x in jax.tree.leaves(nnx.to_pure_dict(nnx.state(module))))


def test_module_gives_it_back_with_the_current_weights():
    module = net()
    module.drop.deterministic = True
    layer = NNXLayer(module)
    model = model_of(layer)
    model.fit(X, Y, verbose=0)
    again = layer.module()
    assert type(again) is NNXNet
    assert again.drop.deterministic is True  # as it was given
    np.testing.assert_array_equal(
        again.layers[0].kernel[...], layer.params["layers/0/kernel"].numpy()
    )
    assert (again.layers[0].kernel[...] != module.layers[0].kernel[...]).any()
    again.eval()
    np.testing.assert_allclose(again(X), layer(X), rtol=1e-6)
    model.fit(X, Y, verbose=0)  # donates buffers, but not those of the copy
    assert np.isfinite(again(X)).all()


def test_keys_and_statistics_change_in_training_alone():
    layer = NNXLayer(net())
    model = model_of(layer)

    def state():
        return [layer.state[n].numpy() for n in sorted(layer.state)]

    before = state()
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    layer(X)
    assert_equal(state(), before)
    model.fit(X, Y, batch_size=4, verbose=0)
    count, key, mean = state()
    assert count == before[0] + 2
    np.testing.assert_array_equal(key, before[1])
    assert (mean != 0).all()


def test_streams_that_are_drawn_from_at_inference_do_not_advance():
    class Noisy(nnx.Module):
        def __init__(self, rngs):
            self.rngs = rngs

        def __call__(self, inputs):
            return inputs + jax.random.normal(self.rngs.noise(), inputs.shape)

    layer = NNXLayer(Noisy(nnx.Rngs(0)))
    np.testing.assert_array_equal(layer(X), layer(X))
    assert (layer(X, training=True) != layer(X, training=True)).all()


def test_a_counter_follows_direct_calls():
    class Counter(nnx.Module):
        def __init__(self):
            self.calls = nnx.Variable(jnp.array(0))
            self.array = jnp.zeros(2)

        def __call__(self, inputs, training):
            self.calls[...] += 1
            self.array = self.array + training
            return inputs

    layer = NNXLayer(Counter())
    layer(X)
    layer(X, training=True)
    assert int(layer.state["calls"].value) == 2
    assert layer.state["array"].value.tolist() == [1.0, 1.0]
    model_of(layer).predict(X, verbose=0)
    assert int(layer.module().calls[...]) == 2


@pytest.mark.parametrize(
    "factory",
    [make_nnx_net, NNXNet, functools.partial(NNXNet, 3, features=8), lambda rngs: net()],
)
def test_factories(factory):
    layer = NNXLayer(factory)
    assert layer(X).shape == (8, 2)
    assert isinstance(layer.module(), NNXNet)


def test_factories_are_seeded():
    layers = [NNXLayer(NNXNet, seed=s) for s in (1, 1, 2)]
    first, second, other = (layer.get_weights() for layer in layers)
    assert_equal(first, second)
    assert (first[1] != other[1]).any()
    made = []
    for _ in range(2):
        keras.utils.clear_session()  # in old versions, Keras seeds its generator once
        keras.utils.set_random_seed(5)
        made.append(NNXLayer(NNXNet).get_weights())
    assert_equal(*made)


def test_methods():
    class Coder(nnx.Module):
        def __init__(self, rngs):
            self.linear = Linear(3, 2, rngs=rngs)

        def encode(self, inputs):
            return self.linear(inputs)

    coder = Coder(nnx.Rngs(0))
    for method in ("encode", coder.encode, Coder.encode, lambda m, inputs: m.encode(inputs)):
        np.testing.assert_array_equal(NNXLayer(coder, method)(X), coder.encode(X))
    with pytest.raises(ArgumentError, match="no method '__call__'"):
        NNXLayer(coder)


def test_what_is_shared_is_one_weight():
    class Tied(nnx.Module):
        def __init__(self):
            self.a = nnx.Param(jnp.ones((3, 3)))
            self.b = self.a

        def __call__(self, inputs):
            return inputs @ self.a[...] @ self.b[...]

    layer = NNXLayer(Tied())
    assert len(layer.weights) == 1
    module = layer.module()
    assert module.a is module.b


def test_what_is_sown_is_dropped_with_one_warning():
    class Sowing(nnx.Module):
        def __call__(self, inputs):
            self.sow(nnx.Intermediate, "seen", inputs)
            return inputs

    module = Sowing()
    module(X)
    layer = NNXLayer(module, name="mine")
    with pytest.warns(UserWarning, match=r"mine \(NNXLayer\).*\(seen\).*nnx.capture"):
        layer(X)
    layer(X)
    assert layer.weights == []


def test_variables_that_a_call_makes_raise_an_error():
    class Late(nnx.Module):
        def __call__(self, inputs):
            self.cache = nnx.Cache(inputs)
            return inputs

    with pytest.raises(ArgumentError, match=r"mine \(NNXLayer\): A call has added .* cache"):
        NNXLayer(Late(), name="mine")(X)


def test_a_layer_in_a_jitted_function_says_how_to_build_it():
    with pytest.raises(ArgumentError, match="Build it before"):
        jax.jit(lambda x: NNXLayer(net())(x))(X)


def test_policies_and_frozen_layers():
    linear = NNXLayer(Linear(3, 2, rngs=nnx.Rngs(0)), dtype="mixed_bfloat16")
    assert linear(X).dtype == jnp.bfloat16
    assert {w.dtype for w in linear.weights} == {"float32"}
    layer = NNXLayer(net(), trainable=False)
    assert layer.trainable_weights == []
    before = layer.get_weights()
    layer(X, training=True)
    assert_equal(layer.get_weights(), before)


def test_integers_first_in_a_model():
    class Embed(nnx.Module):
        def __init__(self, rngs):
            self.embedding = nnx.Param(rngs.params.normal((10, 4)))

        def __call__(self, inputs):
            return self.embedding[...][inputs]

    ids = np.array([[1, 2], [9, 0]])
    model = keras.Sequential([NNXLayer(Embed), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(ids, np.ones(2), verbose=0)
    assert model.predict(ids, verbose=0).shape == (2, 1)


# Configurations.


def back(layer, *, forget=True):
    config = json.loads(json.dumps(layer.get_config()))
    if forget:  # as if the layer had been in another process
        config["module"].pop("token", None)
    return NNXLayer.from_config(config)


def test_a_module_comes_back_from_its_attributes():
    module = net(activation=twice)
    module.table = nnx.static((0.0, 1.0, 2.0))
    module.variable_type = nnx.LoRAParam
    module.norm.mean.set_metadata(unit="volt")
    layer = NNXLayer(module, name="mine", seed=2)
    again = back(layer)
    assert again.get_config() == {**layer.get_config(), "module": again.get_config()["module"]}
    assert [(v.shape, v.dtype) for v in again.weights] == [
        (v.shape, v.dtype) for v in layer.weights
    ]
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X, training=True), layer(X, training=True))
    made = again.module()
    assert made.activation is twice
    assert made.norm.mean.unit == "volt"
    assert made.variable_type is nnx.LoRAParam
    assert made.table == (0.0, 1.0, 2.0)
    assert type(made.layers) is nnx.List


def test_a_copy_in_the_same_program_starts_as_the_layer_is():
    layer = NNXLayer(net())
    layer(X, training=True)
    assert_equal(back(layer, forget=False).get_weights(), layer.get_weights())
    assert not any(w.any() for w in back(layer).get_weights()[:4])


def test_a_factory_makes_new_weights():
    layer = NNXLayer(functools.partial(NNXNet, activation=twice))
    again = back(layer)
    assert again.module().activation is twice
    assert (again.get_weights()[1] != layer.get_weights()[1]).any()
    seeded = NNXLayer(NNXNet, seed=4)
    assert_equal(back(seeded).get_weights(), seeded.get_weights())


def test_shared_variables_stay_shared():
    module = nnx.List([Linear(3, 3, rngs=nnx.Rngs(0))])
    module.append(module[0])
    layer = NNXLayer(module, run_both)
    made = back(layer).module()
    assert made[0] is made[1]


def run_both(module, inputs):
    return module[1](module[0](inputs))


def test_what_cannot_be_saved_is_named():
    layer = NNXLayer(net(activation=lambda x: x), name="mine")
    with pytest.raises(
        ArgumentError, match=r"mine \(NNXLayer\): NNXNet.activation holds <function"
    ):
        layer.get_config()
    layer = NNXLayer(lambda rngs: net(), name="mine")
    with pytest.raises(ArgumentError, match=r"mine \(NNXLayer\): module holds <function"):
        layer.get_config()
