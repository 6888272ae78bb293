"""Common mistakes, and their error messages: enough to fix them without a search."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.errors import (
    ApplyScopeInvalidVariablesTypeError,
    ArgumentTypeError,
    IncorrectPostInitOverrideError,
    InvalidInstanceModuleError,
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
    ScopeParamShapeError,
    SetAttributeFrozenModuleError,
)

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Model(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        calls = self.variable("calls", "count", lambda: 0)
        if train:
            calls.value += 1
        return Dense(3)(x)

    def other(self, x, *, scale=1.0):
        return scale * self(x, False)


MODEL = Model()
VARIABLES = MODEL.init(KEY, X, train=False)


def told(error):
    """Everything that is printed for an error."""
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def compact_module(call):
    """A module whose `__call__` is `call`."""

    class M(nn.Module):
        @nn.compact
        def __call__(self, x):
            return call(self, x)

    return M()


# Fields.


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dense(feature=3),
        lambda: Dense(3, name="a", feature=3),
        lambda: compact_module(lambda self, x: Dense(feature=3)(x)).init(KEY, X),
    ],
)
def test_the_error_about_a_misspelled_field_names_the_intended_one(make):
    with pytest.raises(ArgumentTypeError, match=r"'feature': Dense has no such field") as caught:
        make()
    assert "Did you mean 'features'?" in told(caught.value)


def test_the_error_about_an_unknown_field_lists_all_fields():
    with pytest.raises(ArgumentTypeError, match="unexpected keyword argument 'q'") as caught:
        Dense(3, q=1)
    assert "Available: 'features', 'name', 'parent'." in told(caught.value)


def test_other_mistakes_in_fields_raise_errors_as_python_does():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'features'"):
        Dense()
    with pytest.raises(TypeError, match="positional argument"):
        Dense(1, 2, 3)

    class Checked(nn.Module):
        size: int

        def __post_init__(self):
            if self.size < 0:
                raise TypeError("size must be positive")
            super().__post_init__()

    with pytest.raises(TypeError, match="^size must be positive"):
        Checked(size=-1)


# Calls.


def test_the_error_about_a_missing_argument_says_what_the_method_takes():
    with pytest.raises(TypeError, match="'train'") as caught:
        MODEL.init(KEY, X)
    assert "In Model, method __call__." in told(caught.value)
    assert "It takes (x, train); it got 1 positional argument." in told(caught.value)


def test_the_error_about_a_misspelled_keyword_names_the_intended_one():
    with pytest.raises(TypeError, match="training") as caught:
        MODEL.apply(VARIABLES, X, training=True)
    assert "It takes (x, train); it got 1 positional argument, training=." in told(caught.value)
    assert "Did you mean 'train'?" in told(caught.value)
    with pytest.raises(TypeError, match="sale") as caught:
        MODEL.apply(VARIABLES, X, sale=2.0, method="other")
    assert "It takes (x, *, scale=1.0)" in told(caught.value)
    assert "Did you mean 'scale'?" in told(caught.value)


def test_a_type_error_within_the_method_does_not_concern_its_arguments():
    def call(self, x):
        return len(3)

    with pytest.raises(TypeError, match="len") as caught:
        compact_module(call).init(KEY, X)
    assert "It takes" not in told(caught.value)


def test_a_function_as_method_gets_the_module_first():
    with pytest.raises(TypeError) as caught:
        MODEL.apply(VARIABLES, X, method=lambda x: x)
    assert "gets the bound module first" in told(caught.value)
    assert "it takes (); it got 1 positional argument" in told(caught.value).replace("It", "it")


@pytest.mark.parametrize("call", ["init", "apply", "bind", "init_with_output"])
def test_a_call_of_the_class_asks_for_an_instance(call):
    with pytest.raises(InvalidInstanceModuleError, match="on an instance of a module") as caught:
        getattr(Dense, call)({"params": {}}, X)
    assert "Make an instance first" in str(caught.value)


# Variables.


def test_parameters_that_are_not_in_their_collection():
    with pytest.raises(ScopeCollectionNotFound, match="look like the parameters themselves") as e:
        MODEL.apply(VARIABLES["params"] | {"calls": {"count": 0}}, X, train=False)
    assert "Pass {'params': params}." in str(e.value)
    with pytest.raises(ApplyScopeInvalidVariablesTypeError, match="or {'params': params}"):
        Dense(3).apply({"kernel": jnp.ones((3, 3))}, X)


def test_another_collection_that_is_missing_says_nothing_of_parameters():
    with pytest.raises(ScopeCollectionNotFound) as caught:
        MODEL.apply({"params": VARIABLES["params"]}, X, train=False)
    assert "parameters themselves" not in str(caught.value)


def test_a_misspelled_collection_in_mutable_is_shown():
    with pytest.raises(ModifyScopeVariableError, match=re.escape("mutable=['call']")):
        MODEL.apply(VARIABLES, X, train=True, mutable=["call"])
    with pytest.raises(ModifyScopeVariableError) as caught:
        MODEL.apply(VARIABLES, X, train=True)
    assert "it was" not in str(caught.value)


def test_the_error_about_variables_that_are_an_array_has_its_shape():
    with pytest.raises(Exception, match="got an array of shape \\(2, 3\\) and dtype float32"):
        MODEL.apply(X, VARIABLES, train=False)


def test_a_result_of_apply_that_was_not_taken_apart():
    class Plus(nn.Module):
        other: Any = 0.0

        @nn.compact
        def __call__(self, x):
            return x.sum(-1) + self.other

    packed = MODEL.apply(VARIABLES, X, train=False, mutable=["calls"])
    with pytest.raises(AttributeError) as caught:
        Plus().init(KEY, packed)
    assert "x is a tuple of an array of shape (2, 3) and dtype float32 and a dict of 'calls'." in (
        told(caught.value)
    )
    assert "y, updates = model.apply(...)" in told(caught.value)
    with pytest.raises(TypeError) as caught:
        Plus(packed).init(KEY, X)
    assert "self.other is a tuple of an array" in told(caught.value)
    with pytest.raises(TypeError) as caught:
        Plus("1").init(KEY, X)
    assert "tuple" not in told(caught.value)


def test_a_refusal_of_a_layer_says_it_too():
    def call(self, x):
        raise ArgumentTypeError("x must be an array.")

    with pytest.raises(ArgumentTypeError) as caught:
        compact_module(call).init(KEY, (X, {"batch_stats": {}}))
    assert str(caught.value).startswith("M: x must be")
    assert told(caught.value).count("y, updates = model.apply(...)") == 1


def test_init_with_output_that_was_not_taken_apart():
    with pytest.raises(ApplyScopeInvalidVariablesTypeError, match="init_with_output"):
        MODEL.apply(MODEL.init_with_output(KEY, X, train=False), X, train=False)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda self, x: self.param("w", jnp.ones(3)),
            "'w': 'init_fn' must be a function, got an array of shape (3,) and dtype float32.",
        ),
        (lambda self, x: self.param("w", "zeros", (3,)), "got 'zeros' of type str"),
        (lambda self, x: self.param(ones, (3,)), "'name' must be a string, got <function"),
        (lambda self, x: self.variable("ema", jnp.zeros, (3,)), "'name' must be a string, got"),
        (lambda self, x: self.variable("ema", "w", (3,)), "'w': 'init_fn' must be a function"),
    ],
)
def test_param_and_variable_with_arguments_in_the_wrong_place(call, expected):
    with pytest.raises(ArgumentTypeError, match=re.escape(expected)) as caught:
        compact_module(call).init(KEY, X)
    assert "For example self." in str(caught.value)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda self, x: self.param("w", ones),
            "Parameter 'w' is created by calling its initializer as",
        ),
        (
            lambda self, x: self.param("w", jnp.zeros, (3,)),
            "zeros(key, (3,)): the random key comes",
        ),
        (lambda self, x: self.param("w", lambda key, shape: key + "", (3,)), "(key, (3,))"),
    ],
)
def test_the_error_of_an_initializer_shows_its_call(call, expected):
    with pytest.raises((TypeError, ValueError)) as caught:
        compact_module(call).init(KEY, X)
    assert expected in told(caught.value)
    assert "(lambda key, shape: ...)" in told(caught.value)


def test_a_factory_in_an_initializer_s_place():
    def call(self, x):
        return self.param("w", jax.nn.initializers.lecun_normal, (3,))

    with pytest.raises(ArgumentTypeError, match="returned a function") as caught:
        compact_module(call).init(KEY, X)
    assert "call it first" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda self, x: Dense(3, name=1)(x), "The name of a Dense must be a string, got 1"),
        (lambda self, x: self.sow("i", 1, x), "sow(col, name, value): 'name' must be a string"),
        (lambda self, x: self.perturb(x, "h"), "perturb(name, value): 'name' must be a string"),
    ],
)
def test_names_are_strings(call, expected):
    with pytest.raises(ArgumentTypeError, match=re.escape(expected)):
        compact_module(call).init(KEY, X)


@pytest.mark.parametrize("stored", [None, [[1.0]], (), {"a": 1.0}, "kernel"])
def test_a_parameter_that_is_not_an_array(stored):
    module = compact_module(lambda self, x: self.param("w", ones, (3,)))
    with pytest.raises(ScopeParamShapeError, match=r"an array of shape \(3,\)") as caught:
        module.apply({"params": {"w": stored}}, X)
    assert f'"w" of "/" is stored as {stored!r} of type' in str(caught.value)


@pytest.mark.parametrize("transform", [jax.checkpoint, jax.jit])
def test_a_transform_of_jax_gets_a_submodule(transform):
    with pytest.raises(TypeError, match="bound module has no hash") as caught:
        compact_module(lambda self, x: transform(Dense(3))(x)).init(KEY, X)
    assert "nn.remat(Dense)(features)(x)" in str(caught.value)


def test_arithmetic_with_a_variable_itself():
    def call(self, x):
        count = self.variable("calls", "count", lambda: 0)
        count += 1
        return x

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        compact_module(call).init(KEY, X)
    assert "write variable.value, as in variable.value += 1" in told(caught.value)


# Classes.


def test_a_local_variable_in_setup():
    class M(nn.Module):
        def setup(self):
            dense = Dense(3)  # noqa: F841  (the mistake)

        def __call__(self, x):
            return self.dense(x)

    with pytest.raises(AttributeError, match='has no attribute "dense"') as caught:
        M().init(KEY, X)
    assert "write `self.dense = ...` there" in str(caught.value)


def test_a_setup_by_another_name():
    class M(nn.Module):
        def set_up(self):
            self.dense = Dense(3)

        def __call__(self, x):
            return self.dense(x)

    with pytest.raises(AttributeError, match="should 'set_up' be named setup"):
        M().init(KEY, X)


def test_an_init_of_ones_own():
    class Without(nn.Module):
        def __init__(self, n):
            self.dense = Dense(n)

        def __call__(self, x):
            return self.dense(x)

    class With(Without):
        def __init__(self, n):
            nn.Module.__init__(self)
            self.dense = Dense(n)

    with pytest.raises(IncorrectPostInitOverrideError, match="without calling `super") as missing:
        Without(3).init(KEY, X)
    assert "`Without.__init__()`" in str(missing.value)
    assert "annotate its fields" in str(missing.value)
    with pytest.raises(ArgumentTypeError, match="With.__init__\\(\\) was overridden") as caught:
        With(3).init(KEY, X)
    assert "annotate the fields" in str(caught.value)


def test_an_init_that_takes_all_fields_works():
    class M(nn.Module):
        features: int

        def __init__(self, features, name=None, parent=None):
            self.features = features
            self.name = name
            self.parent = parent
            self.__post_init__()

        @nn.compact
        def __call__(self, x):
            return Dense(self.features)(x)

    assert M(6).init(KEY, X)["params"]["Dense_0"]["kernel"].shape == (3, 6)


def test_the_error_about_an_attribute_set_in_a_call_omits_its_numbers():
    def call(self, x):
        self.hidden = x

    with pytest.raises(SetAttributeFrozenModuleError) as caught:
        compact_module(call).init(KEY, X)
    assert "Can't set hidden=<an array of shape (2, 3) and dtype float32> on" in str(caught.value)


# Layers.


def test_a_layer_that_was_not_called():
    with pytest.raises(TypeError) as caught:
        compact_module(lambda self, x: jax.nn.relu(Dense(3))).init(KEY, X)
    assert "the submodule Dense_0 itself: Dense(...) must still be called" in told(caught.value)


def test_a_class_in_sequential():
    with pytest.raises(ArgumentTypeError, match=re.escape("'layers[1]' is the class Dense")) as e:
        nn.Sequential([jnp.sin, Dense])
    assert "Dense(...)" in str(e.value)


class Reused(nn.Module):
    modules: int

    def setup(self):
        self.layers = [Dense(4) for _ in range(self.modules)]

    def __call__(self, x):
        return self.layers[-1](self.layers[0](x))


def test_a_module_that_init_calls_with_inputs_of_two_sizes():
    with pytest.raises(ScopeParamShapeError, match="Make one module for each size"):
        Reused(1).init(KEY, X)
    variables = Reused(2).init(KEY, X)
    with pytest.raises(ScopeParamShapeError, match="initialized with a differently shaped input"):
        Reused(2).apply(variables, jnp.ones((2, 5)))
