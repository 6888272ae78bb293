"""The names of modules at the operations of a program."""

import re

import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.config import temp_flip_flag

from .nnx_models import Dense, blocks

X = jnp.ones((3, 3))


def dense():
    return Dense(3, rngs=nnx.Rngs(0))


class Net(nnx.Module):
    """Calls submodules, held in every kind of container."""

    def __init__(self):
        self.first = dense()
        self.listed = nnx.List([dense(), dense()])
        self.plain = nnx.data([dense()])
        self.named = nnx.Dict(a=dense())
        self.mapped = nnx.data({"b": (dense(),)})
        self.sequence = nnx.Sequential(dense(), jnp.sin)

    def __call__(self, x):
        x = self.listed[1](self.listed[0](self.first(x)))
        x = self.mapped["b"][0](self.named["a"](self.plain[0](x)))
        return dense()(nnx.remat(lambda m, x: m(x))(self.first, self.sequence(x)))


NAMES = [
    "Net/first",
    "Net/listed[0]",
    "Net/listed[1]",
    "Net/plain[0]",
    "Net/named['a']",
    "Net/mapped['b'][0]",
    "Net/sequence/layers[0]",
    "Net/checkpoint/Dense",
    "Net/Dense",
]


def names(f, *args):
    """The names of the matrix products of a program, in the order of its text."""
    text = nnx.jit(f).lower(*args).as_text(debug_info=True)
    found = re.findall(r'"jit\([^"]*?\)/(?:jit\(main\)/)?([^"]*)/dot_general"', text)
    return list(dict.fromkeys(re.sub(r"/rematted_computation", "", n) for n in found))


def call(model, x):
    return model(x)


def test_operations_are_named_after_the_attributes_that_hold_modules():
    assert sorted(names(call, Net(), X)) == sorted(NAMES)


def test_names_can_be_turned_off_and_change_no_program():
    model = Net()
    jaxpr = str(nnx.make_jaxpr(call)(model, X))
    with temp_flip_flag("profile", False):
        assert not {"Net", "Dense"}.intersection("/".join(names(call, model, X)).split("/"))
        assert str(nnx.make_jaxpr(call)(model, X)) == jaxpr


class Own(Dense):
    def __call__(self, x):
        return super().__call__(x)

    def encode(self, x):
        return self(x)


def test_a_method_and_the_one_that_it_overrides_are_one_name():
    assert names(call, Own(3, rngs=nnx.Rngs(0)), X) == ["Own"]
    assert names(Own.encode, Own(3, rngs=nnx.Rngs(0)), X) == ["Own"]


def test_modules_of_transforms_have_the_names_of_their_classes():
    (name,) = names(nnx.vmap(call, in_axes=(0, None)), blocks(3), X)
    assert re.sub(r"vmap\(|\)", "", name) == "Block/dense"
    found = names(nnx.grad(lambda m, x: m(x).sum()), dense(), X)
    assert {re.sub(r"jvp\(|transpose\(|\)", "", n) for n in found} == {"Dense"}


def test_a_failed_call_leaves_no_names_behind():
    model = Net()
    with pytest.raises(TypeError):
        model(jnp.ones((2, 2)))
    assert names(call, dense(), X) == ["Dense"]
