"""Modules as dataclasses: fields, equality, hashing, printing, copies."""

import copy
import dataclasses
import functools
import inspect
import pickle
import typing
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import (
    DescriptorAttributeError,
    IncorrectPostInitOverrideError,
    ReservedModuleAttributeError,
)
from linnet.module_core.linen import Module, Sequential, compact, nowrap

T = TypeVar("T")


class Dense(Module):
    features: int
    use_bias: bool = True

    @compact
    def __call__(self, x):
        kernel = self.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], self.features))
        return x @ kernel


class Wide(Dense):
    factor: int = 2
    required: Any = None


KEY = jax.random.key(0)
X = jnp.ones((1, 2))


def test_parent_and_name_come_last_and_by_keyword():
    assert list(inspect.signature(Wide).parameters) == [
        *("features", "use_bias", "factor", "required", "parent", "name")
    ]
    assert [f.name for f in dataclasses.fields(Wide)][-2:] == ["parent", "name"]
    with pytest.raises(TypeError, match="positional"):
        Dense(3, True, None)


def test_hints_of_a_class_are_those_of_its_fields():
    assert {*typing.get_type_hints(Dense)} == {"features", "use_bias", "parent", "name"}

    class Layer(nnx.Module):
        kernel: nnx.Param

    assert [*typing.get_type_hints(Layer)] == ["kernel"]


def test_a_subclass_may_add_a_required_field():
    class Base(Module):
        pass

    class Derived(Base):
        width: int

    assert Derived(3).width == 3
    with pytest.raises(TypeError, match="width"):
        Derived()


def test_kw_only_classes():
    class Options(Module, kw_only=True):
        a: int = 1
        b: int

    assert Options(b=2).b == 2
    with pytest.raises(TypeError):
        Options(1, 2)


def test_equality_compares_fields_and_name():
    assert Dense(3) == Dense(3)
    assert Dense(3) != Dense(4)
    assert Dense(3, name="q") != Dense(3)
    assert hash(Dense(3)) == hash(Dense(3))
    assert len({Dense(3), Dense(3), Dense(4)}) == 2


def test_what_cannot_be_hashed_is_named():
    with pytest.raises(TypeError, match="has no hash.*layers"):
        hash(Sequential([Dense(3)]))
    with pytest.raises(TypeError, match="bound module has no hash"):
        hash(Dense(3).bind({}))


def test_fields_without_init_are_set_in_setup_and_not_compared():
    class Late(Module):
        width: int
        twice: int = dataclasses.field(init=False)

        def setup(self):
            self.twice = 2 * self.width

        def __call__(self):
            return self.twice

    assert Late(3).apply({}) == 6
    assert Late(3) == Late(3)
    assert "twice" not in repr(Late(3))
    hash(Late(3))


def test_repr_is_a_tree():
    assert repr(Dense(3)) == "Dense(\n    # attributes\n    features = 3\n)"

    class Net(Module):
        activation: Any = jax.nn.relu

        def setup(self):
            self.first = Dense(3)

        def __call__(self, x):
            return self.first(x)

    bound = Net().bind(Net().init(KEY, X))
    bound(X)
    assert repr(bound) == (
        "Net(\n"
        "    # children\n"
        "    first = Dense(\n"
        "        # attributes\n"
        "        features = 3\n"
        "    )\n"
        ")"
    )


def test_pickle_and_deepcopy():
    model = Sequential([Dense(3), jnp.transpose, Wide(4, name="w")])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert other == model
        same = jax.tree.map(jnp.array_equal, other.init(KEY, X), model.init(KEY, X))
        assert all(jax.tree.leaves(same))
    with pytest.raises(TypeError, match="unbind"):
        pickle.dumps(Dense(3).bind({}))


@pytest.mark.parametrize(
    ("annotation", "allowed"), [(int, False), (str, True), ("str | None", True)]
)
def test_the_reserved_field_name(annotation, allowed):
    body = {"__annotations__": {"name": annotation}, "name": "x"}
    if allowed:
        assert type("Named", (Module,), body)().name == "x"
    else:
        with pytest.raises(ReservedModuleAttributeError, match="Named"):
            type("Named", (Module,), body)


def test_the_reserved_field_parent():
    with pytest.raises(ReservedModuleAttributeError, match="parent"):
        type("Named", (Module,), {"__annotations__": {"parent": int}})


def test_post_init_may_prepare_fields_but_calls_super():
    class Prepared(Module):
        width: Any

        def __post_init__(self):
            self.width = int(self.width)
            super().__post_init__()

        def __call__(self):
            return self.width

    assert Prepared("3").apply({}) == 3

    class Forgot(Module):
        def __post_init__(self):
            pass

        def __call__(self):
            return 1

    with pytest.raises(IncorrectPostInitOverrideError, match="Forgot"):
        Forgot().apply({})
    assert Forgot()() == 1  # it needs nothing that __post_init__ makes


def test_an_init_that_makes_nothing():
    """Some libraries have a layer like this one, which replaces another layer."""

    class Identity(Module):
        def __init__(self, *args, **kwargs):
            pass

        def __call__(self, x):
            return self.same(x)

        def same(self, x):
            return x

        @compact
        def within(self):
            pass

        def variable_of(self):
            return self.param("w", lambda key: 1)

    class Net(Module):
        norm: type

        @compact
        def __call__(self, x):
            return self.norm(3, name="norm")(x) + self.param("w", lambda key: 1)

    net = Net(Identity)
    assert net.init_with_output(jax.random.key(0), 2) == (3, {"params": {"w": 1}})
    assert "Net" in net.tabulate(jax.random.key(0), 2)
    for use in (
        lambda: Identity().apply({}, 1),
        lambda: Identity().within(),
        lambda: Identity().variable_of(),
        lambda: Identity().scope,
        lambda: Identity.__call__(3, 1),
    ):
        with pytest.raises((IncorrectPostInitOverrideError, TypeError), match="Identity"):
            use()


def test_properties_run_setup_and_name_what_is_missing():
    class Net(Module):
        def setup(self):
            self.width = 3

        @property
        def double(self):
            return 2 * self.width

        @functools.cached_property
        def cached(self):
            return self.width + 1

        @property
        def broken(self):
            return self.no_such

    bound = Net().bind({})
    assert (bound.double, bound.cached) == (6, 4)
    with pytest.raises(DescriptorAttributeError, match=r"Net\.broken.*no_such"):
        _ = bound.broken
    with pytest.raises(AttributeError, match="width"):
        _ = Net().width


def test_methods_keep_their_signature_and_docs():
    class Net(Module):
        def __call__(self, inputs, training=False):
            """Runs."""

        @nowrap
        def helper(self):
            return Dense(3)

        @staticmethod
        def static(x):
            return x

        @classmethod
        def default(cls):
            return cls()

    assert list(inspect.signature(Net().__call__).parameters) == ["inputs", "training"]
    assert Net.__call__.__doc__ == "Runs."
    assert Net().helper() == Dense(3)
    assert Net.default().static(3) == 3


def test_generic_modules():
    class Box(Module, Generic[T]):
        value: T

        def __call__(self):
            return self.value

    assert Box[int](3).apply({}) == 3


def test_a_default_may_be_a_module_or_a_factory():
    class Net(Module):
        inner: Module = Dense(3)
        sizes: list = dataclasses.field(default_factory=list)

        def __call__(self, x):
            return self.inner(x), self.sizes

    variables = Net().init(KEY, X)
    assert list(variables["params"]) == ["inner"]
    y, sizes = Net().apply(variables, X)
    assert y.shape == (1, 3)
    assert sizes == ()


def test_calling_a_method_on_the_class():
    with pytest.raises(TypeError, match="first argument is a module"):
        Dense.__call__(X)


def test_fields_are_the_user_s_then_parent_and_name():
    assert [f.name for f in dataclasses.fields(Wide)][-2:] == ["parent", "name"]
    assert list(Wide.__dataclass_fields__) == [f.name for f in dataclasses.fields(Wide)]
    assert list(Module.__dataclass_fields__) == ["parent", "name"]
