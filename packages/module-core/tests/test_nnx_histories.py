"""Random histories: modules edited inside and between jitted calls, compared with runs without jit.

A history is a list of steps on two modules that may share anything. A step edits one of them (its
variables, plain lists, dicts and tuples, static attributes, raw arrays, shared parts), either
outside or inside a function under `nnx.jit`, and then both are inspected. The same is done to a
plain copy without jit. After each step, values, structure and sharing are equal.

LINNET_HISTORIES sets the number of histories in each test; each history compiles its own programs.
"""

import os

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np

from linnet.module_core import nnx

HISTORIES = int(os.environ.get("LINNET_HISTORIES", "80"))


class Node(nnx.Module):
    def __init__(self, value):
        self.x = nnx.Param(jnp.float32(value))
        self.scale = 2
        self.items = []
        self.named = {}
        self.pair = (1, "a")


def total(node):
    """A number that depends on everything below a node, in order."""
    result = jnp.float32(node.x[...]) * node.scale
    for i, item in enumerate(node.items):
        result = result + (i + 1) * value_of(item)
    for name, item in node.named.items():
        result = result * 0.5 + len(name) * value_of(item)
    result = result + sum(value_of(p) for p in node.pair if not isinstance(p, str))
    return result + value_of(getattr(node, "extra", 0))


def value_of(item):
    if isinstance(item, Node):
        return total(item)
    return jnp.float32(item[...] if isinstance(item, nnx.Variable) else item)


def nodes_below(node, found):
    if all(node is not f for f in found):
        found.append(node)
        for child in [*node.items, *node.named.values(), *node.pair]:
            if isinstance(child, Node):
                nodes_below(child, found)
    return found


def reaches(node, other):
    return any(other is n for n in nodes_below(node, []))


def append(node, other, amount):
    node.items.append(Node(amount))


def append_variable(node, other, amount):
    node.items.append(nnx.BatchStat(jnp.float32(amount)))


def append_array(node, other, amount):
    node.items.append(jnp.float32(amount))


def share(node, other, amount):
    if not reaches(other, node):
        node.items.append(other)


def share_variable(node, other, amount):
    node.named["shared"] = other.x


def remove(node, other, amount):
    if node.items:
        node.items.pop(amount % len(node.items))


def reorder(node, other, amount):
    node.items.reverse()


def name(node, other, amount):
    node.named["k" * (amount % 4 + 1)] = Node(amount)


def unname(node, other, amount):
    if node.named:
        del node.named[list(node.named)[amount % len(node.named)]]


def scale(node, other, amount):
    node.scale = amount


def scale_by_bool(node, other, amount):
    node.scale = bool(amount % 2)


def add_array(node, other, amount):
    node.extra = jnp.float32(amount)


def static_again(node, other, amount):
    node.extra = amount


def drop(node, other, amount):
    if hasattr(node, "extra"):
        del node.extra


def pair(node, other, amount):
    node.pair = (jnp.float32(amount), "b") if amount % 2 else (amount, "c")


def pair_of_node(node, other, amount):
    node.pair = (Node(amount), "d")


def add_to_value(node, other, amount):
    node.x[...] = node.x[...] + amount


def change_dtype(node, other, amount):
    node.x.value = node.x.value.astype([jnp.float32, jnp.int32, jnp.float16][amount % 3])


def change_shape_and_back(node, other, amount):
    node.x.value = jnp.broadcast_to(node.x.value, (2,)).sum() / 2


def swap(node, other, amount):
    node.x, other.x = other.x, node.x


def swap_values(node, other, amount):
    node.x.value, other.x.value = other.x.value, node.x.value


def replace_variable(node, other, amount):
    node.x = nnx.Param(jnp.float32(amount), tag="new")


def set_metadata(node, other, amount):
    node.x.set_metadata(tag=amount)


def mark(node, other, amount):
    node.marked = nnx.data([amount]) if amount % 2 else nnx.static([amount])


EDITS = [
    append, append_variable, append_array, share, share_variable, remove, reorder, name, unname,
    scale, scale_by_bool, add_array, static_again, drop, pair, pair_of_node, add_to_value,
    change_dtype, change_shape_and_back, swap, swap_values, replace_variable, set_metadata, mark,
]  # fmt: skip


def edit(first, second, kind, which, amount):
    """One edit of a node below one of the roots; the same inside and outside jit."""
    nodes = nodes_below(second, nodes_below(first, []))
    node, other = nodes[which % len(nodes)], nodes[(which // 5) % len(nodes)]
    EDITS[kind](node, other, amount)


@nnx.jit(static_argnums=(2, 3, 4))
def jitted_edit(first, second, kind, which, amount):
    edit(first, second, kind, which, amount)
    return total(first), total(second)


def look(first, second):
    return total(first), total(second)


jitted_look = nnx.jit(look)

STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, len(EDITS) - 1), st.integers(0, 30), st.integers(0, 4)),
    min_size=2,
    max_size=6,
)


def run(history, make):
    plain, jitted = make(), make()
    for inside, *step in history:
        edit(*plain, *step)
        if inside:
            got = jitted_edit(*jitted, *step)
        else:
            edit(*jitted, *step)
            got = jitted_look(*jitted)
        expected = look(*plain)
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        np.testing.assert_allclose(look(*jitted), expected, rtol=1e-5)
        assert nnx.graphdef(list(jitted)) == nnx.graphdef(list(plain))


@hypothesis.given(STEPS)
@hypothesis.settings(max_examples=HISTORIES, deadline=None)
def test_two_modules(history):
    run(history, lambda: (Node(1), Node(2)))


def two_that_share():
    first, second = Node(1), Node(2)
    first.items.append(second)
    second.named["x"] = first.x
    return first, second


@hypothesis.given(STEPS)
@hypothesis.settings(max_examples=HISTORIES, deadline=None)
def test_two_modules_that_share(history):
    run(history, two_that_share)
