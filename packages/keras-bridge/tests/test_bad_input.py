"""The errors that bad input raises, and their messages."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import linen, nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

from .modules import Coder, Dense, Embed, NNXNet, Two

X = np.ones((4, 3), "float32")


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        (Dense, r"That is the class: pass an instance, Dense\(...\)."),
        (NNXNet(rngs=nnx.Rngs(0)), "Wrap nnx modules in NNXLayer."),
        (NNXNet, "Wrap nnx modules in NNXLayer."),
        (lambda x: x, "keras.layers.Lambda"),
        (None, "got None"),
    ],
)
def test_modules_of_the_wrong_kind(module, hint):
    with pytest.raises(ArgumentTypeError, match=rf"(?s)^mine \(FlaxLayer\): module should.*{hint}"):
        FlaxLayer(module, name="mine")


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        (Dense(2), "Wrap linen modules in FlaxLayer."),
        (Dense, "Wrap linen modules in FlaxLayer."),
        (lambda: 3, "That is what the factory returned."),
        (None, "got None"),
    ],
)
def test_nnx_modules_of_the_wrong_kind(module, hint):
    with pytest.raises(ArgumentTypeError, match=rf"(?s)^mine \(NNXLayer\): module should.*{hint}"):
        NNXLayer(module, name="mine")


def test_bound_modules():
    with pytest.raises(ArgumentError, match="already bound"):
        FlaxLayer(Dense(2).bind({"params": {}}))


class Methods(linen.Module):
    @linen.compact
    def late(self, inputs, train=False):
        return inputs

    @linen.compact
    def needs(self, inputs, mask):
        return inputs

    @linen.compact
    def keyword(self, inputs, *, mask):
        return inputs * mask

    @linen.compact
    def flag_first(self, train, x):
        return x * train

    @linen.compact
    def nothing(self):
        return 1

    @linen.compact
    def only_training(self, training):
        return training

    @linen.compact
    def fine(self, x, *, mask=None, deterministic=None):
        return x

    @linen.compact
    def by_name(self, training, inputs):
        return inputs * training

    @linen.compact
    def any(self, *args, **kwargs):
        return args[0]


class Calls(Methods):
    @linen.compact
    def __call__(self, inputs, *, is_training):
        return inputs * is_training


def of_two(module, left, right):
    return left + right


@pytest.mark.parametrize(
    ("method", "why", "example"),
    [
        ("late", "it would always be called with train=False", "late(inputs, train=training)"),
        ("needs", "it needs 'mask', which Keras doesn't pass", "module.needs(*inputs)"),
        ("keyword", "it needs 'mask', which Keras doesn't pass", "module.keyword(**inputs)"),
        ("flag_first", "it needs 'x', which Keras", "flag_first(x=inputs, train=training)"),
        ("nothing", "it takes no inputs", "module.nothing()"),
        ("only_training", "it takes no inputs", "module.only_training(training=training)"),
        (of_two, "it needs 'right', which Keras doesn't pass", "of_two(module, *inputs)"),
        (lambda: 1, "it takes no module", "module(inputs, is_training=training)"),
    ],
)
def test_methods_with_other_parameters(method, why, example):
    with pytest.raises(ArgumentError, match=why) as error:
        FlaxLayer(Calls(), method)
    assert example in str(error.value)
    written = str(error.value).partition("for example\n")[2]
    found = {"of_two": of_two}
    exec(textwrap.dedent(written), found)
    several = {"needs": [X, X], "keyword": {"inputs": X, "mask": X}, of_two: [X, X]}
    layer = FlaxLayer(Calls(), found["method"])
    layer(several.get(method, X), training=True)


def test_the_hint_spreads_inputs_and_names_the_flag():
    class Both(linen.Module):
        @linen.compact
        def __call__(self, a, b, *, deterministic):
            return a + b if deterministic else a - b

    with pytest.raises(ArgumentError, match="it needs 'b', which Keras doesn't pass") as error:
        FlaxLayer(Both())
    written = str(error.value).partition("for example\n")[2]
    found = {}
    exec(textwrap.dedent(written), found)
    x = np.ones((2, 3), "float32")
    layer = FlaxLayer(Both(), found["method"])
    np.testing.assert_array_equal(layer([x, 2 * x], training=False), 3 * x)
    np.testing.assert_array_equal(layer([x, 2 * x], training=True), -x)


@pytest.mark.parametrize("backend", [None, "tensorflow"])
def test_without_a_backend_the_import_says_what_to_set(backend, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environment |= {"KERAS_HOME": str(tmp_path)}
    if backend:
        environment |= {"KERAS_BACKEND": backend}
    run = subprocess.run(
        [sys.executable, "-c", "import linnet.keras_bridge"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert run.returncode != 0
    assert "export KERAS_BACKEND=jax" in run.stderr
    assert ("KERAS_BACKEND=tensorflow" if backend else "KERAS_BACKEND is not set") in run.stderr


def test_a_method_of_two_inputs_needs_a_function_around_it():
    for method in ("forward", Two.forward, Two().forward):
        with pytest.raises(ArgumentError, match="it needs 'right', which Keras doesn't pass"):
            FlaxLayer(Two(), method)


@pytest.mark.parametrize("method", ["fine", "by_name", "any"])
def test_methods_whose_other_parameters_may_be_left_out(method):
    assert FlaxLayer(Methods(), method)(X, training=True).shape == X.shape


def test_methods_that_are_not_there():
    with pytest.raises(ArgumentError, match=r"(?s)Coder has no method 'encod'.*'encode'"):
        FlaxLayer(Coder(), "encod")
    with pytest.raises(ArgumentTypeError, match="method should be a method of Coder"):
        FlaxLayer(Coder(), 3)


@pytest.mark.parametrize("variables", [3, [1], {"params": 1}, {"params": {"kernel": "text"}}])
def test_variables_that_are_not_dicts_of_arrays(variables):
    with pytest.raises(ArgumentTypeError, match=r"mine \(FlaxLayer\): variables should"):
        FlaxLayer(Dense(2), variables=variables, name="mine")


@pytest.mark.parametrize("seed", [1.5, "a", True])
def test_seeds(seed):
    with pytest.raises(ArgumentError, match="seed should be an int or None"):
        FlaxLayer(Dense(2), seed=seed)


def test_outputs_that_depend_on_training():
    class Changing(linen.Module):
        @linen.compact
        def __call__(self, inputs, training):
            return (inputs, inputs) if training else inputs

    layer = FlaxLayer(Changing(), name="mine")
    layer(X)
    with pytest.raises(
        ArgumentError, match=r"(?s)mine \(FlaxLayer\): With training=False, .*Return"
    ):
        layer(X, training=True)


def test_state_that_depends_on_the_call():
    class Late(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            if not self.is_initializing():
                self.variable("cache", "late", lambda: inputs)
            return inputs

    with pytest.raises(ArgumentError, match="cache/late: expected nothing, received shape"):
        FlaxLayer(Late())(X)

    class Growing(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            self.variable("cache", "last", lambda: inputs).value = inputs
            return inputs

    layer = FlaxLayer(Growing(), name="mine")
    layer.build((None, 3))
    with pytest.raises(ArgumentError, match=r"state cache/last has shape \(1, 3\).*\(4, 3\)"):
        layer(X)


def test_errors_of_the_module_itself_are_left_alone():
    with pytest.raises(ValueError, match="Embed needs integers, got bool"):
        FlaxLayer(Embed())(X > 0)


def test_errors_of_linnet_keep_their_place_and_their_hint():
    class Wrong(linen.Module):
        @linen.compact
        def __call__(self, inputs, training):
            if not training:
                raise ShapeError("It doesn't fit.", hint="Make it fit.")
            return inputs

    layer = FlaxLayer(Wrong(), name="mine")
    with pytest.raises(
        ShapeError, match=r"mine \(FlaxLayer\): Wrong: It doesn't fit.\n  Make it fit."
    ):
        layer(X)


def test_another_backend_raises_an_error_when_a_layer_is_made():
    """Importing the layers needs neither a style of modules nor TensorFlow."""
    program = """
import sys
import textwrap
from pathlib import Path
import keras
from linnet.keras_bridge import FlaxLayer, NNXLayer
heavy = ("linnet.module_core.nnx", "linnet.module_core.linen", "tensorflow", "torch")
assert not [name for name in sys.modules if name.startswith(heavy)]
from linnet.module_core import linen
for layer in (FlaxLayer, NNXLayer):
    try:
        layer(linen.Sequential([abs]))
    except ValueError as error:
        print(error)
"""
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    lines = finished.stdout.splitlines()
    assert lines[0] == "FlaxLayer needs Keras's jax backend, but this program runs on 'numpy'."
    assert "os.environ['KERAS_BACKEND'] = 'jax'" in lines[1]
    assert len(lines) == 4
