"""What Keras does with a model: callbacks, ways to compile, optimizers, pictures."""

import jax
import keras
import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import nnx

from .modules import Net, NNXNet

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 3)).astype("float32")
Y = (X[:, :2] * 2).astype("float32")

LAYERS = {
    "linen": lambda: FlaxLayer(Net(), seed=0),
    "nnx": lambda: NNXLayer(NNXNet(rngs=nnx.Rngs(0))),
}
each_style = pytest.mark.parametrize("style", LAYERS)


def model_of(style, optimizer=None, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), LAYERS[style](), keras.layers.Dense(2)])
    model.compile(optimizer or keras.optimizers.Adam(0.02), "mse", **options)
    return model


def weights(model):
    return [v.numpy() for v in model.weights]


def assert_close(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@each_style
def test_it_learns_in_whatever_way_the_step_is_run(style):
    found = []
    for options in (
        {},
        {"jit_compile": False},
        {"run_eagerly": True},
        {"steps_per_execution": 2},
    ):
        model = model_of(style, keras.optimizers.SGD(0.02), **options)
        history = model.fit(X, Y, batch_size=8, epochs=4, shuffle=False, verbose=0)
        assert history.history["loss"][-1] < history.history["loss"][0]
        found.append(weights(model))
    for other in found[1:]:
        assert_close(found[0], other)


@each_style
def test_callbacks(style, tmp_path):
    model = model_of(style)
    seen = []
    checkpoint = tmp_path / "best.keras"
    history = model.fit(
        X,
        Y,
        validation_data=(X, Y),
        epochs=4,
        verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(checkpoint, save_best_only=True),
            keras.callbacks.EarlyStopping(patience=0, min_delta=1e9, restore_best_weights=True),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda e, logs: seen.append(weights(model))
            ),
        ],
    )
    assert len(history.history["loss"]) == 2
    assert_close(weights(model), seen[0])
    best = int(np.argmin(history.history["val_loss"]))
    assert_close(weights(keras.saving.load_model(checkpoint)), seen[best])


@each_style
def test_gradient_accumulation(style):
    model = model_of(style, keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    kernel = model.trainable_weights[1]
    before = kernel.numpy()
    model.train_on_batch(X, Y)
    np.testing.assert_array_equal(kernel.numpy(), before)
    model.train_on_batch(X, Y)
    assert (kernel.numpy() != before).any()


@each_style
def test_averaged_weights(style):
    plain = model_of(style, keras.optimizers.SGD(0.1))
    steps = []
    for _ in range(2):
        plain.fit(X, Y, batch_size=32, verbose=0)
        steps.append(weights(plain))
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.25)
    model = model_of(style, optimizer)
    model.fit(X, Y, batch_size=32, epochs=2, verbose=0)
    # `fit` ends with the averages in place of the weights; the first average is the first step.
    kernel = model.trainable_weights[1]
    np.testing.assert_allclose(
        kernel.numpy(), 0.25 * steps[0][1] + 0.75 * steps[1][1], rtol=1e-4, atol=1e-5
    )


@each_style
def test_summary(style):
    lines = []
    model_of(style).summary(print_fn=lambda text, **_: lines.append(text))
    text = "\n".join(lines)
    layer = "FlaxLayer" if style == "linen" else "NNXLayer"
    assert layer in text
    assert "(None, 2)" in text
    assert "Trainable params: 56" in text  # 3 x 8 + 8, 8 x 2 + 2, 2 x 2 + 2


@each_style
def test_plot_model(style, tmp_path):
    pytest.importorskip("pydot")
    graph = keras.utils.model_to_dot(model_of(style), show_shapes=True, show_layer_names=True)
    assert ("FlaxLayer" if style == "linen" else "NNXLayer") in graph.to_string()


@each_style
def test_gradients_of_a_loop_of_one_s_own(style):
    """The loop that Keras's guide to jax shows."""
    model = model_of(style)
    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    @jax.jit
    def step(trainable, others):
        def loss(trainable):
            outputs, updated = model.stateless_call(trainable, others, X, training=True)
            return ((outputs - Y) ** 2).mean(), updated

        (value, updated), gradients = jax.value_and_grad(loss, has_aux=True)(trainable)
        return [w - 0.1 * g for w, g in zip(trainable, gradients, strict=True)], updated, value

    losses = []
    for _ in range(10):
        trainable, others, value = step(trainable, others)
        losses.append(float(value))
    assert min(losses[-3:]) < losses[0]


@each_style
def test_clones_are_apart(style):
    model = model_of(style)
    clone = keras.models.clone_model(model)
    assert [v.shape for v in clone.weights] == [v.shape for v in model.weights]
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(X, verbose=0), model.predict(X, verbose=0))
    clone.compile("sgd", "mse")
    before = weights(model)
    clone.fit(X, Y, verbose=0)
    for a, b in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(a, b)
