"""Attributes of modules: set as Python sets them, and called by name as on the bound module."""

import functools

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.errors import SetAttributeFrozenModuleError

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    features: int = 2

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Stored:
    """A descriptor that stores the assigned value under a different name."""

    def __set_name__(self, owner, name):
        self.name = f"_{name}"

    def __get__(self, instance, owner=None):
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance, value):
        object.__setattr__(instance, self.name, ("stored", value))


class Model(nn.Module):
    width: int = 1
    body: nn.Module | None = None
    activation: object = None
    extra = Stored()
    scaled = functools.partialmethod(lambda self, factor, x: factor * self.width * x, 3)

    @property
    def area(self):
        return self.width**2

    @area.setter
    def area(self, value):
        object.__setattr__(self, "width", int(value**0.5))

    @property
    def fixed(self):
        return 1

    @property
    def inner(self):
        return self.head

    def setup(self):
        self.head = Dense(1)
        self.plus = lambda x: x + 1

    def __call__(self, x):
        return self.head(x)

    @staticmethod
    def static(module, x):
        return module.width * x

    def doubled(self, x):
        return 2 * x


class Named(Model):
    def greeting(self):
        return "hello"


# Setting.


def test_descriptors_are_set_by_assignment():
    model = Model()
    model.area = 49
    assert (model.width, model.area) == (7, 49)
    model.extra = 3
    assert model.extra == ("stored", 3)
    assert "extra" not in vars(model)
    with pytest.raises(AttributeError, match="property 'fixed' of 'Model' object has no setter"):
        model.fixed = 2


@pytest.mark.parametrize("bound", [False, True])
def test_the_class_of_a_module_may_change(bound):
    model = Model().bind({}) if bound else Model()
    model.__class__ = Named
    assert type(model) is Named
    assert model.greeting() == "hello"


def test_a_bound_module_stays_frozen_for_descriptors():
    with pytest.raises(SetAttributeFrozenModuleError):
        Model().bind({}).area = 49


def test_a_submodule_that_setup_gives_to_a_property_is_named_by_it():
    class Setting(nn.Module):
        @property
        def layer(self):
            return self._kept

        @layer.setter
        def layer(self, value):
            self._kept = value

        def setup(self):
            self.layer = Dense()

        def __call__(self, x):
            return self.layer(x)

    assert list(Setting().init(KEY, X)["params"]) == ["layer"]


# Names of methods.

VARIABLES = {"params": {"head": {"kernel": jnp.ones((3, 1))}, "body": {"kernel": jnp.ones((3, 2))}}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("__call__", jnp.full((2, 1), 3.0)),
        ("doubled", 2 * X),
        ("body", jnp.full((2, 2), 3.0)),  # a module in a field
        ("head", jnp.full((2, 1), 3.0)),  # a module made in setup
        ("inner", jnp.full((2, 1), 3.0)),  # a property that reads it
        ("plus", X + 1),  # a function made in setup
        ("activation", X + 1),  # a function in a field gets the module, like `method=function`
        ("static", X),
        ("scaled", 3 * X),
    ],
)
def test_a_method_s_name_means_what_the_bound_module_has_under_it(name, expected):
    model = Model(body=Dense(), activation=lambda module, x: x + module.width)
    assert jnp.array_equal(model.apply(VARIABLES, X, method=name), expected)


def test_a_name_of_what_is_not_callable_or_not_there():
    with pytest.raises(TypeError, match=r"'Model.width' must be a callable"):
        Model().apply({}, X, method="width")
    with pytest.raises(TypeError, match=r"'Model.area' must be a callable"):
        Model().apply({}, X, method="area")
    with pytest.raises(AttributeError, match='no attribute "doubles". Did you mean'):
        Model().apply({}, X, method="doubles")


class OnlyEncode(nn.Module):
    width: int = 3

    def encode(self, x):
        return x


@pytest.mark.parametrize("args", [(), (X,)])
@pytest.mark.parametrize("call", ["init", "init_with_output", "lazy_init", "tabulate"])
def test_a_module_without_call_says_which_method_to_name(call, args):
    with pytest.raises(AttributeError, match=r'"OnlyEncode".*"__call__".*method=.encode.'):
        getattr(OnlyEncode(), call)(KEY, *args)
    assert OnlyEncode().init(KEY, X, method="encode") == {}


@pytest.mark.parametrize("transform", [nn.jit, nn.remat])
def test_a_transformed_class_has_no_call_either(transform):
    model = transform(OnlyEncode)()
    with pytest.raises(AttributeError, match='"__call__"'):
        model.init(KEY, X)
    assert jnp.array_equal(model.apply({}, X, method="encode"), X)


# Errors about attributes that can't be set.


def test_a_submodule_s_name_is_given_when_it_is_made():
    class Renamed(nn.Module):
        right: bool = False

        def setup(self):
            self.layer = Dense(2, name="dense") if self.right else Dense(2)
            if not self.right:
                self.layer.name = "dense"

        def __call__(self, x):
            return self.layer(x)

    with pytest.raises(SetAttributeFrozenModuleError, match=r"Dense\(\.\.\., name='\.\.\.'\)"):
        Renamed().init(KEY, X)
    assert list(Renamed(right=True).init(KEY, X)["params"]) == ["dense"]


def test_an_attribute_of_a_submodule_is_set_in_its_own_setup():
    class Outer(nn.Module):
        how: str

        def setup(self):
            self.layer = Dense(2)
            setattr(self.layer, self.how, 3)

        def __call__(self, x):
            return self.layer(x)

    with pytest.raises(SetAttributeFrozenModuleError, match="in the setup of Dense"):
        Outer("rate").init(KEY, X)
    with pytest.raises(SetAttributeFrozenModuleError, match=r"Dense\(\.\.\., features=\.\.\.\)"):
        Outer("features").init(KEY, X)


def append(self):
    self.layers = []
    self.layers.append(Dense())


def extend(self):
    self.layers = []
    self.layers += [Dense()]


def put(self):
    self.layers = [Dense()]
    self.layers[0] = Dense()


def enter(self):
    self.layers = {}
    self.layers["first"] = Dense()


def built_first(self):
    layers = [Dense()]
    self.layers = layers


@pytest.mark.parametrize("change", [append, extend, put, enter])
def test_a_list_that_setup_has_assigned_is_built_first(change):
    def model(setup):
        return type("Net", (nn.Module,), {"setup": setup, "__call__": lambda self, x: x})()

    with pytest.raises((AttributeError, TypeError, ValueError)) as caught:
        model(change).init(KEY, X)
    notes = " ".join(caught.value.__notes__)
    assert "self.layers" in notes
    assert "first, then assign it: layers = " in notes
    model(built_first).init(KEY, X)
