"""Specs of a transform's arguments: mappings from filters to specs, and states that hold specs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError

from .nnx_models import Dense, block, blocks


class Tied(nnx.Module):
    def __init__(self):
        self.a = nnx.Param(3 * jnp.ones(2))
        self.b = self.a


def test_a_state_of_axes_is_a_mapping_by_path():
    flat = nnx.StateAxes({nnx.PathIn(("dense", "kernel")): 0, nnx.PathIn(("calls",)): None, ...: 0})
    many = blocks(4)
    many.calls.set_value(jnp.zeros(()))
    by_path = nnx.State({"dense": {"kernel": 0}, "calls": None, "rngs": {"key": 0, "count": 0}})
    nested = {"dense": {"kernel": 0}, "calls": None, "rngs": {"key": 0, "count": 0}}
    x = jnp.ones((4, 3))
    expected = nnx.vmap(lambda m, x: m.dense(x), in_axes=(flat, 0))(many, x)
    for given in (by_path, nested):
        axes = nnx.StateAxes(given)
        assert axes == nnx.StateAxes(by_path)
        assert hash(axes) == hash(nnx.StateAxes(by_path))
        got = nnx.vmap(lambda m, x: m.dense(x), in_axes=(axes, 0))(many, x)
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ArgumentError, match="No axis found for calls, BatchStat"):
        nnx.vmap(lambda m: 1, in_axes=(nnx.StateAxes(nnx.State({"dense": {"kernel": 0}})),))(many)


def test_a_state_of_axes_for_scan_and_for_outputs():
    axes = nnx.StateAxes(nnx.State({"kernel": 1}))
    make = nnx.vmap(lambda key: Dense(3, rngs=nnx.Rngs(key)), out_axes=axes)
    many = make(jax.random.split(jax.random.key(0), 2))
    assert many.kernel.shape == (3, 2, 3)

    @nnx.scan(in_axes=(nnx.Carry, axes), out_axes=nnx.Carry)
    def through(x, dense):
        return dense(x)

    x = jnp.ones((1, 3))
    first, second = (jnp.tanh, many.kernel[:, 0]), (jnp.tanh, many.kernel[:, 1])
    expected = jnp.tanh(jnp.tanh(x @ first[1]) @ second[1])
    np.testing.assert_allclose(through(x, many), expected, rtol=1e-6)


def test_what_holds_axes_in_the_form_of_a_module_or_state_is_a_prefix_of_it():
    many = blocks(4)
    seen = []

    def look(m):
        seen.append(m.dense.kernel.shape)
        m.calls[...] += 1

    axes = jax.tree.map(lambda _: 0, nnx.state(many))
    nnx.vmap(look, in_axes=(axes,))(nnx.state(many))
    _, state = nnx.split(many)
    of_module = nnx.clone(many)
    nnx.update(of_module, jax.tree.map(lambda _: 0, state))
    nnx.vmap(look, in_axes=(of_module,))(many)
    assert seen == [(3, 3), (3, 3)]
    np.testing.assert_array_equal(many.calls[...], np.full(4, 2.0))  # shared with the state


def test_a_shared_variable_has_the_axis_of_its_first_path():
    for axes in (
        {nnx.PathContains("a"): 0, ...: None},
        {nnx.PathContains("a"): 0},
    ):
        total = nnx.vmap(lambda m: (m.a[...] * m.b[...]).sum(), in_axes=(nnx.StateAxes(axes),))
        np.testing.assert_array_equal(total(Tied()), [9.0, 9.0])
    with pytest.raises(ArgumentError, match="two prefixes"):
        nnx.vmap(lambda m, n: 1, in_axes=(0, None))(*[Tied()] * 2)


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_gradient_by_any_path_of_a_shared_variable(name):
    by = nnx.DiffState(0, nnx.PathContains(name))
    gradient = nnx.grad(lambda m: (m.a[...] * m.b[...]).sum(), argnums=by)(Tied())
    (leaf,) = jax.tree.leaves(gradient)
    np.testing.assert_array_equal(leaf, [6.0, 6.0])


def test_variables_that_are_put_in_are_differentiated_whatever_they_are():
    class Waved(nnx.Variable):
        pass

    model = nnx.Dict(
        w=nnx.Param(jnp.array(2.0)), e=Waved(jnp.array(3.0)), k=nnx.Param(jnp.ones(()))
    )
    graphdef, waved, rest = nnx.split(model, Waved, ...)

    def loss(waved, rest):
        m = nnx.merge(graphdef, waved, rest)
        return m.w[...] * m.e[...] ** 2 + m.k[...]

    by_waved = nnx.grad(loss)(waved, rest)
    assert type(by_waved.e) is Waved
    assert float(by_waved.e[...]) == 12.0
    both = nnx.grad(loss, argnums=(0, 1))(waved, rest)
    assert float(both[0].e[...]) == 12.0
    assert float(both[1].w[...]) == 9.0
    of_dict = nnx.grad(lambda d: d["w"][...] * d["e"][...])({"w": model.w, "e": model.e})
    assert {k: float(v[...]) for k, v in of_dict.items()} == {"w": 3.0, "e": 2.0}
    # In a module, only parameters are differentiated; in a state, a filter can select variables.
    assert set(nnx.grad(lambda m: m.w[...] * m.e[...])(model)) == {"w", "k"}
    state = nnx.state(model)
    chosen = nnx.grad(lambda s: s.w[...] * s.e[...], argnums=nnx.DiffState(0, Waved))(state)
    assert nnx.to_flat_state(chosen).paths == (("e",),)


def test_scan_raises_an_error_for_a_result_without_an_axis_when_it_is_decorated():
    for axes in (None, nnx.StateAxes({...: None}), nnx.StateAxes({nnx.Param: 0, ...: None})):
        with pytest.raises(ArgumentError, match="an output of its own"):
            nnx.scan(lambda c, x: (c, x), out_axes=(nnx.Carry, axes))


def test_metadata_change_where_the_axis_has_a_name_or_none():
    def names(metadata):
        inside = []
        param = nnx.Param(jnp.ones((4, 2)), sharding_names=(None, "in"))
        nnx.vmap(lambda p: inside.append(p.sharding_names), transform_metadata=metadata)(param)
        return inside

    assert names({nnx.PARTITION_NAME: None}) == [("in",)]
    assert names({"another": 1}) == [(None, "in")] == names({})


def test_a_shard_map_of_nothing():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("d",))
    m = block()

    @nnx.shard_map(mesh=mesh, in_specs=(jax.sharding.PartitionSpec(),), out_specs=None)
    def count(m):
        m.calls[...] += 1

    count(m)
    assert float(m.calls[...]) == 1.0


def test_a_prefix_is_looked_up_for_one_variable():
    param, state = nnx.Param(1), nnx.BatchStat(1)
    for cls in (nnx.StateAxes, nnx.StateSharding):
        prefix = cls({nnx.PathContains("a"): 1, nnx.Param: 0})
        assert prefix.map_prefix(("a",), state) == 1
        assert prefix.map_prefix(("b",), param) == 0
        with pytest.raises(ArgumentError, match=r"found for b, BatchStat"):
            prefix.map_prefix(("b",), state)
    diff = nnx.DiffState(0, nnx.Param)
    assert diff.map_prefix(("a",), param)
    assert not diff.map_prefix(("a",), state)
