"""The properties of classes that nnx caches, which cannot change during a class's lifetime."""

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen, nnx
from linnet.module_core.nnx.nodes import kinds


class Model(nnx.Module):
    def __init__(self, held):
        self.held = held


def make_box():
    class Box:
        def __init__(self, x):
            self.x = x

    return Box


def register(cls):
    jax.tree_util.register_pytree_node(cls, lambda b: ((b.x,), None), lambda _, c: cls(*c))


class TestRegisteredLater:
    @pytest.fixture(params=["itself", "in a list", "in a tuple", "in a dict"])
    def around(self, request):
        wrap = {
            "itself": lambda b: b,
            "in a list": lambda b: [b],
            "in a tuple": lambda b: (b,),
            "in a dict": lambda b: {"b": b},
        }
        return wrap[request.param]

    def test_of_new_objects_the_arrays_are_data(self, around):
        cls = make_box()
        assert not jax.tree.leaves(nnx.state(Model(around(cls(1)))))
        register(cls)
        box = cls(jnp.ones(2))
        model = Model(around(box))
        total = nnx.jit(lambda m: sum(x.sum() for x in jax.tree.leaves(nnx.state(m))))
        assert total(model) == 2.0
        box.x = jnp.zeros(2)
        assert total(model) == 0.0

    def test_so_they_are_in_a_model_whose_structure_was_taken(self, around):
        cls = make_box()
        model = Model(around(cls(jnp.ones(2))))
        graphdef = nnx.graphdef(model)
        assert not jax.tree.leaves(nnx.state(model))
        register(cls)
        assert len(jax.tree.leaves(nnx.state(model))) == 1
        assert nnx.graphdef(model) != graphdef

    def test_as_a_data_type(self):
        cls = make_box()
        model = Model(cls(jnp.ones(2)))
        assert not nnx.is_data(model.held)
        nnx.register_data_type(cls)
        assert nnx.is_data(model.held)
        assert nnx.state(Model(model.held))["held"] is model.held


def collected(make):
    """Whether the class that `make` returns is freed when nothing refers to it."""
    found = weakref.ref(make())
    gc.collect()
    return found() is None


@pytest.mark.usefixtures("only_new_garbage")
class TestClassesAreLetGo:
    """Linnet keeps no class alive; jax keeps those in its traces until its caches are cleared."""

    def test_of_static_values(self):
        def use():
            cls = make_box()
            model = Model(cls(1))
            nnx.merge(*nnx.split(model))
            return cls

        before = len(kinds.known_kinds), len(kinds._own), len(kinds._alive)
        assert collected(use)
        assert (len(kinds.known_kinds), len(kinds._own), len(kinds._alive)) <= before

    def test_of_data_types(self):
        def use():
            cls = nnx.register_data_type(make_box())
            nnx.state(Model(cls(1)))
            return cls

        assert collected(use)

    def test_of_several_arguments(self):
        def use():
            cls = make_box()
            model, other = Model([cls(1), nnx.Param(1.0)]), Model(cls(2))
            nnx.grad(lambda a, b: a.held[1][...] + b.held.x)(model, other)
            return cls

        assert collected(use)

    def test_of_linen_modules(self):
        def use():
            class Layer(linen.Module):
                @linen.compact
                def __call__(self, x):
                    return x * self.param("scale", lambda key: jnp.ones(()))

            layer = Layer()
            layer.apply(layer.init(jax.random.key(0), 1.0), 1.0)
            return Layer

        assert collected(use)

    def test_of_linen_modules_under_jit(self):
        """Not even jax's caches, which keep static arguments, keep the classes alive."""

        def use():
            class Layer(linen.Module):
                @linen.compact
                def __call__(self, x):
                    return x * self.param("scale", lambda key: jnp.ones(()))

            class Outer(linen.Module):
                inner: linen.Module

                @linen.compact
                def __call__(self, x):
                    return linen.jit(lambda module, x: module(x))(self.inner, x)

            for layer in (linen.jit(Layer)(), Outer(Layer())):
                layer.init(jax.random.key(0), 1.0)
            return Layer

        assert collected(use)

    def test_of_modules_that_are_not_trees(self):
        def use():
            class Layer(nnx.Module, pytree=False):
                pass

            nnx.split(Layer())
            return Layer

        assert collected(use)
