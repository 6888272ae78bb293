"""nnx.jit: whatever is done to modules, inside or between calls, works as it does without it."""

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx


class Node(nnx.Module):
    def __init__(self, value):
        self.x = nnx.Param(jnp.float32(value))
        self.scale = 2
        self.items = []
        self.named = {}


def total(node):
    """A number that depends on everything below a node, in order."""
    result = node.x.value * node.scale
    for i, item in enumerate(node.items):
        result = result + (i + 1) * (total(item) if isinstance(item, Node) else item)
    for name, item in node.named.items():
        result = result * 0.5 + len(name) * (total(item) if isinstance(item, Node) else item)
    if hasattr(node, "extra"):
        result = result + node.extra
    return result


def test_programs_are_reused_while_nothing_changes():
    traces = []

    @nnx.jit
    def step(node):
        traces.append(1)
        node.x.value = node.x.value + 1
        return node.x.value

    node = Node(0)
    for i in range(3):
        assert float(step(node)) == i + 1
    assert float(step(Node(5))) == 6.0
    assert len(traces) == 1
    node.scale = 3
    step(node)
    assert len(traces) == 2


def test_changes_of_structure_come_out():
    @nnx.jit
    def edit(node, x):
        node.items.append(Node(7))
        node.extra = x
        node.named["first"] = node.items[0]
        node.scale += 1
        del node.items[0]
        return node.items[-1], node.named["first"]

    node = Node(1)
    first = Node(2)
    node.items.append(first)
    last, again = edit(node, jnp.float32(3))
    assert len(node.items) == 1
    assert node.items[0] is last
    assert again is first is node.named["first"]
    assert node.scale == 3
    assert float(node.extra) == 3.0


def test_shared_arguments_stay_shared():
    @nnx.jit
    def swap(a, b):
        a.x, b.x = b.x, a.x
        return a

    a, b = Node(1), Node(2)
    xa, xb = a.x, b.x
    assert swap(a, b) is a
    assert a.x is xb
    assert b.x is xa

    @nnx.jit
    def write(outer, inner):
        inner.x.value = inner.x.value + 1
        return outer.items[0].x.value

    outer = Node(0)
    outer.items.append(a)
    before = float(a.x.value)
    assert float(write(outer, a)) == before + 1


def test_an_exception_changes_nothing():
    @nnx.jit
    def fail(node):
        node.x.value = node.x.value + 1
        node.items.append(Node(1))
        raise RuntimeError("late")

    node = Node(1)
    with pytest.raises(RuntimeError, match="late"):
        fail(node)
    assert float(node.x.value) == 1.0
    assert node.items == []


def test_methods_static_arguments_and_containers():
    class Model(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.ones(3))

        @nnx.jit(static_argnames="times")
        def repeat(self, x, times):
            return {"out": [x * self.w.value] * times}

    model = Model()
    assert len(model.repeat(2.0, times=3)["out"]) == 3
    assert len(model.repeat(2.0, 2)["out"]) == 2
    grown = nnx.jit(lambda tree: tree["m"][0].w.value.sum())({"m": [model]})
    assert float(grown) == 3.0


def test_dropped_models_are_freed_at_once():
    @nnx.jit
    def use(node):
        node.x.value = node.x.value + 1

    gc.disable()
    try:
        node = Node(1)
        node.items.append(Node(2))
        use(node)
        gone = weakref.ref(node.items[0].x)
        del node
        assert gone() is None
    finally:
        gc.enable()


def test_jax_transforms_take_modules():
    node = Node(3)
    gradient = jax.grad(lambda n: total(n) ** 2)(node)
    assert float(gradient.x.value) == pytest.approx(24.0)
