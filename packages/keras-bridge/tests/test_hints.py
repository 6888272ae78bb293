"""Every hint of this package, followed to the letter."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import hints
from hints import Remedy
from linnet import keras_bridge
from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import linen, nnx

from .modules import Coder, Counter, Dense, Holder, Linear, Net, Two, WithConfig, twice

SOURCES = Path(keras_bridge.__file__).parent
X = np.ones((4, 3), "float32")


def linear():
    return Linear(3, 2, rngs=nnx.Rngs(0))


def bound():
    return Dense(2).bind({"params": {}})


def again(layer, **custom_objects):
    """The layer of a configuration."""
    config = layer.get_config()
    with keras.saving.custom_object_scope(custom_objects):
        return type(layer).from_config(config)


def of_flax():
    """An object whose class is named like one of Flax's."""
    return type("Dense", (), {"__module__": "flax.linen"})()


def on_another_backend():
    with mock.patch.object(keras.backend, "backend", return_value="numpy"):
        return FlaxLayer(Dense(2))


class Late(linen.Module):
    in_init: bool

    @linen.compact
    def __call__(self, inputs):
        if self.in_init or not self.is_initializing():
            self.variable("cache", "late", lambda: jnp.zeros(3))
        return inputs


class Outputs(linen.Module):
    in_training: int

    @linen.compact
    def __call__(self, inputs, training):
        return (inputs,) * (self.in_training if training else 2)


def outputs(in_training):
    layer = FlaxLayer(Outputs(in_training))
    return layer(X), layer(X, training=True)


def built_first(layer):
    layer.build(X.shape)
    return jax.jit(lambda x: layer(x))(X)


def called_first(layer):
    layer(X)
    return jax.jit(lambda x: layer(x))(X)


def model_called_first(layer):
    model = keras.Sequential([layer])
    model(X)
    return jax.jit(lambda x: model(x))(X)


def encoded(module, inputs):
    return module.encode(inputs)


def given_example():
    """Calls a layer with the function from the hint about a method's parameters."""
    try:
        FlaxLayer(Two(), "forward")
    except ValueError as error:
        found = {}
        exec(textwrap.dedent(str(error).partition("for example\n")[2]), found)
    return FlaxLayer(Two(), found["method"])([X, X], training=True)


class OwnInit(linen.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    @linen.compact
    def __call__(self, inputs):
        return Dense(self.size)(inputs)


def local_class():
    class Local(Dense):
        pass

    return Local


def registered_class():
    """Registers a class, as the hint says, and removes it again."""
    local = local_class()
    keras.saving.get_custom_objects()["Local"] = local
    try:
        return again(FlaxLayer(local(2)))
    finally:
        del keras.saving.get_custom_objects()["Local"]


def registered_function(function):
    before = dict(keras.saving.get_custom_objects())
    try:
        keras.saving.register_keras_serializable()(function)
        return again(FlaxLayer(Net(activation=function)))
    finally:
        keras.saving.get_custom_objects().clear()
        keras.saving.get_custom_objects().update(before)


ABSENT = """
from linnet.module_core import linen

class AbsentNet(linen.Module):
    @linen.compact
    def __call__(self, inputs):
        return inputs
"""


def loaded(imported=False, said=False):
    """A model from a file, in a program that hasn't imported its module's class (yet)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "absent_models.py").write_text(ABSENT, "utf-8")
        path = Path(folder, "model.keras")
        sys.path.insert(0, folder)
        try:
            found = {}
            exec("from absent_models import AbsentNet", found)
            cls = found["AbsentNet"]
            keras.Sequential([keras.Input((3,)), FlaxLayer(cls())]).save(path)
            del sys.modules["absent_models"]
            if imported:
                exec("from absent_models import AbsentNet", found)
            options = {"custom_objects": {"AbsentNet": cls}} if said else {}
            return keras.saving.load_model(path, **options)
        finally:
            sys.path.remove(folder)
            sys.modules.pop("absent_models", None)


class Opaque:
    """A value that has no name."""


@keras.saving.register_keras_serializable(package="test_hints")
class OpaqueHolder(linen.Module):
    value: Any

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(Opaque())

    @linen.compact
    def __call__(self, inputs):
        return inputs


class Growing(nnx.Module):
    def __init__(self, ready):
        if ready:
            self.last = nnx.Variable(jnp.zeros(3))

    def __call__(self, inputs):
        self.last = nnx.Variable(inputs[0])
        return inputs


class Keeping(Growing):
    def __call__(self, inputs):
        self.last[...] = inputs[0]
        return inputs


class Restructured(nnx.Module):
    def __init__(self, start):
        self.pair = nnx.Variable(start)

    def __call__(self, inputs):
        self.pair.set_value({"left": inputs[0], "right": inputs[1]})
        return inputs


class Large(linen.Module):
    """The table of `Holder`, as a variable."""

    @linen.compact
    def __call__(self, inputs):
        self.variable("constants", "table", jnp.zeros, 5000)
        return inputs


class Last(linen.Module):
    of_batch: bool

    @linen.compact
    def __call__(self, inputs):
        seen = inputs if self.of_batch else inputs.mean(0)
        self.variable("cache", "last", jnp.zeros_like, seen).value = seen
        return inputs


def last(of_batch):
    layer = FlaxLayer(Last(of_batch))
    layer.build((None, 3))
    return layer(X)


def shadowed(name):
    """A layer that is read again while its module defines something else as `name`."""
    return again(FlaxLayer(Counter()), **{name: twice})


REMEDIES = [
    Remedy(
        "Pass module.unbind()[0], or a module created outside setup and compact methods.",
        lambda: FlaxLayer(bound()),
        lambda: [FlaxLayer(bound().unbind()[0])(X), FlaxLayer(Dense(2))(X)],
    ),
    Remedy(
        "That is the class: pass an instance, {}(...).",
        lambda: FlaxLayer(Dense),
        lambda: FlaxLayer(Dense(2))(X),
    ),
    Remedy(
        "Wrap nnx modules in NNXLayer.",
        lambda: FlaxLayer(linear()),
        lambda: NNXLayer(linear())(X),
    ),
    Remedy(
        "Wrap linen modules in FlaxLayer.",
        lambda: NNXLayer(Dense(2)),
        lambda: FlaxLayer(Dense(2))(X),
    ),
    Remedy(
        "That is what the factory returned.",
        lambda: NNXLayer(lambda: None),
        lambda: NNXLayer(lambda: linear())(X),
    ),
    Remedy(
        "For a function of arrays, use keras.layers.Lambda.",
        lambda: FlaxLayer(twice),
        lambda: keras.layers.Lambda(twice)(X),
    ),
    Remedy(
        "Keras wraps it in keras.layers.FlaxLayer.",
        lambda: FlaxLayer(of_flax()),
        lambda: keras.layers.FlaxLayer,
    ),
    Remedy(
        "Linnet's modules have the same names: from linnet import nnx.",
        lambda: NNXLayer(of_flax()),
        lambda: NNXLayer(linear()),
    ),
    Remedy(
        "Create every variable in init as well, whatever the value of `training`.",
        lambda: FlaxLayer(Late(in_init=False))(X),
        lambda: FlaxLayer(Late(in_init=True))(X),
    ),
    Remedy(
        "Select it before importing Keras: os.environ['KERAS_BACKEND'] = 'jax'.",
        on_another_backend,
        # This program has selected it.
        lambda: [os.environ["KERAS_BACKEND"].index("jax"), FlaxLayer(Dense(2))(X)],
    ),
    Remedy(
        "Build it beforehand with layer.build(input_shape), or call the layer or its model once",
        lambda: jax.jit(lambda x: FlaxLayer(Dense(2))(x))(X),
        lambda: [f(FlaxLayer(Dense(2))) for f in (built_first, called_first, model_called_first)],
    ),
    Remedy(
        "Build it beforehand with layer.build(input_shape), or call the layer or its model once",
        lambda: jax.jit(lambda x: NNXLayer(linear())(x))(X),
        lambda: [f(NNXLayer(linear())) for f in (built_first, called_first, model_called_first)],
    ),
    Remedy(
        "Return the same number of arrays in the same places both times.",
        lambda: outputs(3),
        lambda: outputs(2),
    ),
    Remedy(
        "A function that takes the module, the inputs and, optionally, `training` also works:",
        lambda: FlaxLayer(Coder(), "encod"),
        lambda: [FlaxLayer(Coder(), "encode")(X), FlaxLayer(Coder(), method=encoded)(X)],
    ),
    Remedy(
        "Pass a function that calls it, for example",
        lambda: FlaxLayer(Two(), "forward"),
        given_example,
    ),
    Remedy(
        "Make it a dataclass like other modules, or define get_config and from_config.",
        lambda: again(FlaxLayer(OwnInit(2))),
        lambda: [again(FlaxLayer(Dense(2))), again(FlaxLayer(WithConfig(2)))],
    ),
    Remedy(
        "Define it at the top level of a module, or register it with Keras: "
        "keras.saving.get_custom",
        lambda: again(FlaxLayer(local_class()(2))),
        lambda: [again(FlaxLayer(Dense(2))), registered_class()],
    ),
    Remedy(
        "Another object of that name may be registered with Keras.",
        lambda: shadowed("Counter"),
        lambda: shadowed("Renamed"),
    ),
    Remedy(
        "Import it before loading (from {} import {}), or pass it: keras.saving.load",
        loaded,
        lambda: [loaded(imported=True), loaded(said=True)],
    ),
    Remedy(
        "Create all variables in __init__.",
        lambda: NNXLayer(Growing(ready=False))(X),
        lambda: NNXLayer(Keeping(ready=True))(X),
    ),
    Remedy(
        "Have the variable hold the same tree of arrays from the start.",
        lambda: NNXLayer(Restructured({"left": jnp.zeros(3)}))(X),
        lambda: NNXLayer(Restructured({"left": jnp.zeros(3), "right": jnp.zeros(3)}))(X),
    ),
    Remedy(
        "Create the layer outside functions that jax transforms.",
        lambda: jax.eval_shape(lambda x: [FlaxLayer(Holder(x)).get_config(), x][1], X),
        lambda: again(FlaxLayer(Holder(X))),
    ),
    Remedy(
        "numbers are saved with the module; make a larger array one of its variables.",
        lambda: again(FlaxLayer(Holder(np.zeros(5000)))),
        lambda: [again(FlaxLayer(Holder(np.zeros(4096)))), again(FlaxLayer(Large()))(X)],
    ),
    Remedy(
        "A Keras variable holds the state, and its shape is fixed.",
        lambda: last(of_batch=True),
        lambda: last(of_batch=False),
    ),
    Remedy(
        "Use a function defined at the top level of a module (functools.partial binds",
        lambda: again(FlaxLayer(Net(activation=lambda x: 2 * x))),
        lambda: [
            again(FlaxLayer(Net(activation=twice))),
            again(FlaxLayer(Net(activation=partial(jnp.multiply, 2)))),
            registered_function(lambda x: 2 * x),
            again(FlaxLayer(Dense(2, kernel_init=jax.nn.initializers.lecun_normal()))),
        ],
    ),
    Remedy(
        "Give the module methods get_config and from_config, as Keras's layers have, and register",
        lambda: again(FlaxLayer(Holder(Opaque()))),
        lambda: again(FlaxLayer(OpaqueHolder(Opaque()))),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
