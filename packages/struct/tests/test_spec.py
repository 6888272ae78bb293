"""The documented behavior of `struct`, statement by statement."""

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
    predict: Callable = struct.field(pytree_node=False)


class NodeModel(struct.PyTreeNode):
    params: Any
    predict: Callable = struct.field(pytree_node=False)


both = pytest.mark.parametrize("Model", [Model, NodeModel])


@both
def test_an_instance_is_made_changed_by_replace_and_differentiated(Model):
    model = Model({}, min)
    other = {}
    changed = model.replace(params=other)
    assert isinstance(changed, Model)
    assert changed.params is other
    # Without parameters, there is nothing to differentiate: the gradient has their structure.
    assert jax.grad(lambda model: 2.5)(model) == model


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
def test_an_attribute_that_is_not_a_pytree_node_is_not_touched(Model):
    model = Model({"w": jnp.ones(2)}, len)
    doubled = jax.tree.map(lambda x: 2 * x, model)
    assert doubled.predict is len
    np.testing.assert_array_equal(doubled.params["w"], [2, 2])
    assert len(jax.tree.leaves(model)) == 1


@both
def test_instances_pass_through_transforms(Model):
    model = Model({"w": jnp.array([1.0, 2.0])}, lambda v, x: v["w"] * x)

    def loss(model, x):
        return jnp.sum(model.predict(model.params, x) ** 2)

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
    assert [f.name for f in dataclasses.fields(Model)] == ["params", "predict"]
    by_position, by_name = Model(1, len), Model(predict=len, params=1)
    assert by_position == by_name
    assert (by_name.params, by_name.predict) == (1, len)


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


def test_a_smart_constructor_is_a_class_or_static_method():
    @struct.dataclass
    class Interval:
        low: jax.Array
        width: jax.Array

        @classmethod
        def between(cls, low, high):
            return cls(low, high - low)

        @staticmethod
        def unit():
            return Interval.between(jnp.zeros(()), jnp.ones(()))

    made = Interval.between(jnp.array([1.0, 2.0]), jnp.array([4.0, 2.5]))
    assert len(jax.tree.leaves(made)) == 2
    np.testing.assert_allclose(made.width, [3.0, 0.5])
    # The simple constructor stays, and is the one that JAX calls.
    doubled = jax.tree.map(lambda x: 2 * x, made)
    np.testing.assert_allclose(doubled.low, [2.0, 4.0])
    np.testing.assert_allclose(doubled.width, [6.0, 1.0])
    assert Interval(jnp.ones(3), jnp.ones(3)).low.shape == (3,)
    assert Interval.unit().width == 1.0


def test_pytree_node_is_a_base_class():
    class Further(NodeModel):
        step: int = 0

    further = Further({"w": 1.0}, len, 3)
    assert isinstance(further, struct.PyTreeNode)
    assert jax.tree.leaves(further) == [1.0, 3]
    assert further.replace(step=4).step == 4
