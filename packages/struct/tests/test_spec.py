"""Every sentence of the document of `struct`, its examples as written (flax read as linnet)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet import struct


@struct.dataclass
class Model:
    params: Any
    # use pytree_node=False to indicate an attribute should not be touched
    # by Jax transformations.
    apply_fn: Callable = struct.field(pytree_node=False)

    def __apply__(self, *args):
        return self.apply_fn(*args)


class NodeModel(struct.PyTreeNode):
    params: Any
    # use pytree_node=False to indicate an attribute should not be touched
    # by Jax transformations.
    apply_fn: Callable = struct.field(pytree_node=False)

    def __apply__(self, *args):
        return self.apply_fn(*args)


@struct.dataclass
class DirectionAndScaleKernel:
    direction: jax.Array
    scale: jax.Array

    @classmethod
    def create(cls, kernel):
        scale = jax.numpy.linalg.norm(kernel, axis=0, keepdims=True)
        direction = direction / scale  # noqa: F821  (as written in the document)
        return cls(direction, scale)


both = pytest.mark.parametrize("Model", [Model, NodeModel])


@both
def test_the_example_runs_as_written(Model):
    params = {}
    params_b = {}
    apply_fn = lambda v, x: x  # noqa: E731
    model = Model(params, apply_fn)

    # model.params = params_b  # Model is immutable. This will raise an error.
    model_b = model.replace(params=params_b)  # Use the replace method instead.

    # This class can now be used safely in Jax to compute gradients w.r.t. the
    # parameters.
    model = Model(params, apply_fn)
    loss_fn = lambda model: 3.0  # noqa: E731
    model_grad = jax.grad(loss_fn)(model)

    assert isinstance(model_b, Model)
    assert model_b.params is params_b
    assert model_grad == model


@both
def test_assignment_raises_and_the_instance_stays(Model):
    model = Model({"w": 1}, len)
    with pytest.raises(dataclasses.FrozenInstanceError, match="params"):
        model.params = {}
    with pytest.raises(dataclasses.FrozenInstanceError, match="params"):
        del model.params
    assert model.params == {"w": 1}


@both
def test_replace_leaves_the_original(Model):
    model = Model({"w": 1}, len)
    assert model.replace(params=2).params == 2
    assert model.params == {"w": 1}


@both
def test_an_attribute_that_is_no_pytree_node_is_not_touched(Model):
    model = Model({"w": jnp.ones(2)}, len)
    doubled = jax.tree.map(lambda x: 2 * x, model)
    assert doubled.apply_fn is len
    np.testing.assert_array_equal(doubled.params["w"], [2, 2])
    assert len(jax.tree.leaves(model)) == 1


@both
def test_instances_pass_through_transforms(Model):
    model = Model({"w": jnp.array([1.0, 2.0])}, lambda v, x: v["w"] * x)

    def loss(model, x):
        return jnp.sum(model.__apply__(model.params, x) ** 2)

    gradient = jax.jit(jax.grad(loss))(model, 3.0)  # d/dw (3 w)² = 18 w
    assert isinstance(gradient, Model)
    np.testing.assert_allclose(gradient.params["w"], [18.0, 36.0])

    batch = jax.vmap(loss, in_axes=(None, 0))(model, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(batch, [5.0, 20.0])

    def step(carry, _):
        return jax.tree.map(lambda w: w / 2, carry), None

    last, _ = jax.lax.scan(step, model, length=3)
    np.testing.assert_allclose(last.params["w"], [0.125, 0.25])


@both
def test_constructor_arguments_and_attributes_correspond(Model):
    assert [f.name for f in dataclasses.fields(Model)] == ["params", "apply_fn"]
    by_position, by_name = Model(1, len), Model(apply_fn=len, params=1)
    assert by_position == by_name
    assert (by_name.params, by_name.apply_fn) == (1, len)


def test_dataclass_takes_a_class_and_arguments():
    class Plain:
        x: int

    Plain.__annotations__ = {"x": int}
    assert struct.dataclass(Plain, order=True)(1) < Plain(2)

    @struct.dataclass(kw_only=True)
    class Keyword:
        x: int

    assert Keyword(x=1).x == 1
    with pytest.raises(TypeError, match="positional"):
        Keyword(1)


def test_the_second_example_keeps_the_simple_constructor():
    kernel = DirectionAndScaleKernel(jnp.ones((2, 3)), jnp.ones((1, 3)))
    assert len(jax.tree.leaves(kernel)) == 2
    # As written, `create` uses `direction` before it has a value.
    with pytest.raises(UnboundLocalError):
        DirectionAndScaleKernel.create(jnp.ones((2, 3)))


def test_a_smart_constructor_is_a_class_or_static_method():
    @struct.dataclass
    class Kernel:
        direction: jax.Array
        scale: jax.Array

        @classmethod
        def create(cls, kernel):
            scale = jax.numpy.linalg.norm(kernel, axis=0, keepdims=True)
            return cls(kernel / scale, scale)

        @staticmethod
        def ones(n):
            return Kernel.create(jnp.ones((n, 1)))

    made = Kernel.create(jnp.array([[3.0], [4.0]]))
    np.testing.assert_allclose(made.scale, [[5.0]])
    np.testing.assert_allclose(made.direction, [[0.6], [0.8]])
    # The simple constructor is the one that JAX calls: what it gets need not be consistent.
    doubled = jax.tree.map(lambda x: 2 * x, made)
    np.testing.assert_allclose(doubled.direction, [[1.2], [1.6]])
    np.testing.assert_allclose(Kernel.ones(4).scale, [[2.0]])


def test_pytree_node_is_a_base_class():
    class Further(NodeModel):
        step: int = 0

    further = Further({"w": 1.0}, len, 3)
    assert isinstance(further, struct.PyTreeNode)
    assert jax.tree.leaves(further) == [1.0, 3]
    assert further.replace(step=4).step == 4
