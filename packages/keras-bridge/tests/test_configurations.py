"""get_config and from_config: round trips of every kind of field, and rejected values."""

from __future__ import annotations

import functools
import json
import sys
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer
from linnet.module_core import linen
from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.struct import FrozenDict

from .modules import (
    Coder,
    Dense,
    Dropout,
    Holder,
    Net,
    Options,
    Pair,
    Two,
    WithConfig,
    forward_two,
    registered,
    twice,
)


def back(layer):
    """The layer made from a configuration that was converted to JSON and back."""
    config = json.loads(json.dumps(layer.get_config()))
    return type(layer).from_config(config)


VALUES = {
    "numbers": [True, -1, 2.5, None, "text", 1j, ...],
    "infinity": (float("inf"), float("-inf")),
    "containers": ((1, (2, [3])), {"a": (1,), 2: "b"}, frozenset({1}), {2, 3}),
    "frozen dict": FrozenDict({"a": {"b": (1, 2)}}),
    "slice": slice(1, None, 2),
    "dtypes": (np.dtype("int8"), jnp.dtype("bfloat16")),
    "scalar types": (jnp.float32, jnp.bfloat16, np.float16, np.int64),
    "enum": jax.lax.Precision.HIGHEST,
    "axes": jax.sharding.PartitionSpec("data", None, ("a", "b")),
    "functions of jax": (jax.nn.gelu, jnp.tanh, jax.lax.dot_general, jax.nn.initializers.ones),
    "function of keras": keras.activations.relu,
    "own function": twice,
    "registered function": registered,
    "partial": functools.partial,  # compared by its parts, below
    "module class": Dense,
    "modules": [Dense(1), {"a": (Dense(2, dtype=jnp.bfloat16), Net())}],
    "named module": Dense(1, name="first"),
    "data": (Pair(1, twice), Options(2, jnp.sin)),
}


@pytest.mark.parametrize("kind", [k for k in VALUES if k != "partial"])
def test_fields_come_back(kind):
    module = Holder(VALUES[kind])
    again = back(FlaxLayer(module)).module
    assert again == module
    assert type(again.value) is type(module.value)


def test_partials_come_back():
    again = back(FlaxLayer(Holder(functools.partial(jax.nn.leaky_relu, negative_slope=0.2)))).module
    assert again.value.func is jax.nn.leaky_relu
    assert again.value.keywords == {"negative_slope": 0.2}
    module = back(FlaxLayer(Holder(functools.partial(Dense, 3)))).module
    assert module.value() == Dense(3)


@pytest.mark.parametrize("array", [np.arange(3, dtype="int8"), jnp.ones((2, 1)), np.float32(0.5)])
def test_small_arrays_come_back(array):
    again = back(FlaxLayer(Holder(array))).module.value
    assert isinstance(again, type(array))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_random_keys_come_back():
    key = jax.random.key(3)
    again = back(FlaxLayer(Holder(key))).module.value
    assert jnp.array_equal(jax.random.key_data(again), jax.random.key_data(key))


@pytest.mark.parametrize(
    "make",
    [
        lambda i: i.normal(0.02),
        lambda i: i.lecun_normal(),
        lambda i: i.variance_scaling(2.0, "fan_out", "uniform", dtype=jnp.bfloat16),
        lambda i: i.constant(3.0),
        lambda i: i.orthogonal(),
    ],
)
def test_initializers_of_jax_come_back(make):
    init = make(jax.nn.initializers)
    again = back(FlaxLayer(Dense(2, kernel_init=init))).module.kernel_init
    key = jax.random.key(0)
    for dtype in ((), (jnp.float32,)):
        np.testing.assert_array_equal(again(key, (4, 4), *dtype), init(key, (4, 4), *dtype))


def test_what_is_shared_stays_shared():
    one = Dense(3)
    again = back(FlaxLayer(Holder(one, (one, Dense(3))))).module
    assert again.value is again.other[0]
    assert again.value is not again.other[1]


@pytest.mark.parametrize(
    ("method", "stored"), [(None, None), ("encode", "encode"), (Coder.encode, "encode")]
)
def test_methods_come_back_by_name(method, stored):
    layer = FlaxLayer(Coder(), method)
    assert layer.get_config()["method"] == stored
    assert back(layer)._method == layer._method
    assert FlaxLayer(Coder(), Coder().encode).get_config()["method"] == "encode"


def test_functions_come_back_by_reference():
    assert back(FlaxLayer(Two(), forward_two)).method is forward_two


def test_keras_s_own_arguments_and_the_seed_come_back():
    layer = FlaxLayer(Net(), name="mine", dtype="mixed_bfloat16", trainable=False, seed=4)
    again = back(layer)
    assert again.name == "mine"
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.trainable is False
    assert again.seed == 4
    assert again.get_config() == layer.get_config()


def test_a_default_that_has_no_name_comes_from_the_class():
    assert back(FlaxLayer(LambdaByDefault())).module == LambdaByDefault()


class LambdaByDefault(linen.Module):
    function: Any = lambda x: x

    @linen.compact
    def __call__(self, inputs):
        return self.function(inputs)


def test_a_get_config_of_the_module_s_own_is_asked():
    layer = FlaxLayer(WithConfig(3, function=lambda: 0))
    assert layer.get_config()["module"]["config"] == {"double": 6}
    assert back(layer).module == WithConfig(3)


@pytest.mark.parametrize(
    ("module", "place"),
    [
        (Holder(lambda x: x), "Holder.value"),
        (Holder([1, {"a": lambda x: x}]), "Holder.value[1]['a']"),
        (Holder(Holder(other=object())), "Holder.value.other"),
        (Holder(functools.partial(lambda x: x)), "Holder.value.func"),
        (Holder(np.zeros(5000)), "Holder.value"),
    ],
)
def test_what_cannot_be_saved_is_named(module, place):
    layer = FlaxLayer(module, name="mine")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.summary(print_fn=lambda *_, **__: None)  # not before it is saved
    for save in (layer.get_config, lambda: keras.models.clone_model(model)):
        with pytest.raises(ArgumentError) as error:
            save()
        first, *hints = str(error.value).splitlines()
        assert first.startswith(f"mine (FlaxLayer): {place} holds")
        assert any(word in hints[0] for word in ("register", "variable"))


def test_a_function_that_cannot_be_found_raises_an_error():
    layer = FlaxLayer(Two(), lambda module, inputs, training: forward_two(module, inputs, training))
    with pytest.raises(ArgumentError, match="method holds <function"):
        layer.get_config()


def test_local_classes_need_to_be_registered():
    class Local(linen.Module):
        size: int = 2

        @linen.compact
        def __call__(self, inputs):
            return inputs

    layer = FlaxLayer(Local(5), name="mine")
    with pytest.raises(
        ArgumentError, match=r"(?s)mine \(FlaxLayer\): .*get_custom_objects\(\)\['L"
    ):
        layer.get_config()
    with keras.saving.custom_object_scope({"Local": Local}):
        assert back(layer).module == Local(5)
    config = None
    keras.saving.get_custom_objects()["tests>Local"] = Local
    try:
        config = layer.get_config()
        assert back(layer).module == Local(5)
    finally:
        del keras.saving.get_custom_objects()["tests>Local"]
    with pytest.raises(ArgumentError, match="custom_objects={'Local': Local}"):
        FlaxLayer.from_config(config)


def test_modules_with_constructors_of_their_own_raise_an_error():
    with pytest.raises(ArgumentError, match="whose custom __init__ hides"):
        FlaxLayer(OwnInit(3)).get_config()


class OwnInit(linen.Module):
    def __init__(self, size):
        object.__setattr__(self, "size", size)
        super().__init__()

    @linen.compact
    def __call__(self, inputs):
        return inputs


# Things that a file is not allowed to do.


def config_with(value):
    config = FlaxLayer(Holder(1)).get_config()
    config["module"]["fields"]["value"] = value
    return config


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:run",
        "builtins:exec",
        "pickle:loads",
        "functools:reduce",
        "this_module_is_not_imported:function",
        "jax._src.core:trace_ctx",
        f"{__name__}:json",  # a module that is imported there
        f"{__name__}:json.loads",
        f"{__name__}:sys.modules",
        f"{__name__}:FlaxLayer",  # neither a module class nor a data class
        "nonsense",
    ],
)
def test_a_file_finds_no_functions_but_the_program_s_own(name):
    before = set(sys.modules)
    with pytest.raises(ArgumentError, match=r"(?s)a layer|flax_layer"):
        FlaxLayer.from_config(config_with({"@function": {"name": name}}))
    assert "this_module_is_not_imported" not in sys.modules
    assert not {m for m in set(sys.modules) - before if not m.startswith(("linnet", "jax"))}


@pytest.mark.parametrize("name", ["subprocess:Popen", f"{__name__}:test_partials_come_back"])
def test_a_file_makes_nothing_but_modules(name):
    config = FlaxLayer(Holder(1)).get_config()
    config["module"]["class"] = {"name": name}
    with pytest.raises(ArgumentError):
        FlaxLayer.from_config(config)
    for tag in ("data", "enum"):
        stored = {f"@{tag}": {"class": {"name": name}, "fields": {"args": "true"}, "member": "a"}}
        with pytest.raises(ArgumentError):
            FlaxLayer.from_config(config_with(stored))


def test_initializers_come_from_two_libraries_alone():
    stored = {"@initializer": ["os", "system", {"command": "true"}]}
    with pytest.raises(ArgumentError, match="initializer 'system' of 'os'"):
        FlaxLayer.from_config(config_with(stored))


def test_a_module_that_is_not_imported_is_named():
    config = FlaxLayer(Net(), name="mine").get_config()
    config["module"]["class"] = {"name": "absent.models:Net"}
    with pytest.raises(ArgumentError) as error:
        FlaxLayer.from_config(config)
    message = str(error.value)
    assert message.startswith("mine (FlaxLayer): module is stored as 'Net' of 'absent.models'")
    assert "from absent.models import Net" in message
    assert "custom_objects={'Net': Net}" in message
    with keras.saving.custom_object_scope({"Net": Net}):
        assert FlaxLayer.from_config(config).module == Net()


def test_another_class_of_that_name_raises_an_error():
    config = FlaxLayer(Net(), name="mine").get_config()
    with (
        keras.saving.custom_object_scope({"Net": ModuleType}),
        pytest.raises(ArgumentError, match="should be an instance of a module class"),
    ):
        FlaxLayer.from_config(config)


def test_fields_that_the_class_no_longer_has_are_named():
    config = FlaxLayer(Dropout()).get_config()
    config["module"]["fields"]["probability"] = 1
    with pytest.raises(ArgumentError, match=r"\['probability'\], which Dropout doesn't have"):
        FlaxLayer.from_config(config)


@pytest.mark.parametrize("stored", [{"@newer": 1}, {"a": 1, "b": 2}])
def test_kinds_of_later_versions_are_named(stored):
    with pytest.raises(ArgumentError, match="newer version of linnet-keras-bridge"):
        FlaxLayer.from_config(config_with(stored))


@pytest.mark.parametrize("module", [None, 3, {"fields": {}}])
def test_configurations_without_a_module_raise_an_error(module):
    config = {**FlaxLayer(Net()).get_config(), "module": module}
    with pytest.raises((ArgumentError, ArgumentTypeError)):
        FlaxLayer.from_config(config)
