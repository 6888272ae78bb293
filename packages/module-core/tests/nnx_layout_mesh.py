"""The layout of nnx variables on eight devices; test_devices.py runs these tests.

One table lists the ways to give a variable a value; each is tested on meshes with both kinds of
axes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import layout as jax_layout
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import hints
from linnet.module_core import linen, nnx
from linnet.module_core.errors import ArgumentError

P = PartitionSpec
NAMES = ("data", "model")
SHAPE = (8, 4)

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    devices = np.array(jax.devices()).reshape(4, 2)
    mesh = Mesh(devices, NAMES, axis_types=(request.param,) * 2)
    with set_mesh(mesh):
        yield mesh


class Weight(nnx.Module):
    def __init__(self, names=NAMES, shape=SHAPE, **metadata):
        self.w = nnx.Param(jnp.ones(shape), out_sharding=names, **metadata)


class Kernel(linen.Module):
    names: Any = NAMES
    rules: Any = None

    @linen.compact
    def __call__(self, x):
        init = jax.nn.initializers.ones
        if self.rules is None:
            init = linen.with_partitioning(init, self.names)
        else:
            init = linen.with_logical_partitioning(init, self.names, rules=self.rules)
        return self.param("w", init, SHAPE)


def spec(x):
    """The mesh axis of each axis, for a specification of any length."""
    value = x.get_value() if isinstance(x, nnx.Variable) else x
    found = tuple(value.sharding.spec)
    return (*found, *(None,) * (value.ndim - len(found)))


def of_shape(tree):
    return [spec(x) for x in jax.tree.leaves(nnx.state(tree)) if x.shape == SHAPE]


def adam(model):
    return nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)


# Each returns variables, or values, that must be laid out according to NAMES.


def made():
    return [Weight().w]


def made_in_jit():
    return [nnx.jit(Weight)().w]


def of_metadata():
    made = nnx.Param.from_metadata(np.zeros(SHAPE), {"out_sharding": NAMES})
    traced = jax.jit(lambda: nnx.Param.from_metadata(jnp.zeros(SHAPE), {"sharding": NAMES}))()
    return [made, traced]


def of_values_from_elsewhere():
    on_one = jax.device_put(np.zeros(SHAPE), jax.devices()[0])
    return [nnx.Param(x, out_sharding=NAMES) for x in (np.zeros(SHAPE), on_one)]


def set_to():
    found = []
    for x in (jnp.zeros(SHAPE), np.zeros(SHAPE), jax.device_put(np.zeros(SHAPE), jax.devices()[0])):
        for write in ("set_value", "item", "value"):
            variable = Weight().w
            if write == "set_value":
                variable.set_value(x)
            elif write == "item":
                variable[...] = x
            else:
                variable.value = x
            found.append(variable)
    return found


def copied_with_a_value():
    return [Weight().w.copy(np.zeros(SHAPE)), Weight().w.replace(jnp.zeros(SHAPE))]


def updated():
    bare, whole, pure = Weight(), Weight(), Weight()
    nnx.update(bare, {"w": np.zeros(SHAPE)})
    state = jax.tree.map(lambda x: np.zeros(x.shape), nnx.state(whole))
    nnx.update(whole, state)
    state = nnx.state(pure)
    nnx.replace_by_pure_dict(state, {"w": np.zeros(SHAPE)})
    nnx.update(pure, state)
    return [bare.w, whole.w, pure.w]


def merged():
    graphdef, state = nnx.split(nnx.eval_shape(Weight))
    state = jax.tree.map(lambda x: np.zeros(x.shape), state)
    bare = nnx.merge(graphdef, jax.tree.leaves(state))
    return [nnx.merge(graphdef, state).w, bare.w]


def of_linen():
    variables = {"params": {"w": np.zeros(SHAPE)}}
    return [nnx.bridge.linen_to_nnx(variables, Weight()).w]


def wrapped(rules=None, names=NAMES):
    def make():
        module = nnx.bridge.ToNNX(Kernel(names, rules), rngs=nnx.Rngs(0))
        return nnx.bridge.lazy_init(module, jnp.ones((2, 8)))

    return [make().w, nnx.jit(make)().w]


def wrapped_by_rules():
    found = wrapped((("in", "data"), ("out", "model")), ("in", "out"))
    with linen.logical_axis_rules([("in", "data"), ("out", "model")]):
        return found + wrapped((), ("in", "out"))


def averaged():
    def make():
        model = Weight()
        return nnx.state((model, nnx.EMA(model, 0.5)))

    traced = jax.jit(make)()
    ema = nnx.EMA(Weight(), 0.5)
    ema.update(Weight())
    return [x for x in jax.tree.leaves((traced, nnx.state(ema))) if x.shape == SHAPE]


def optimized():
    def make():
        model = Weight()
        return model, adam(model)

    found = [make(), nnx.jit(make)(), jax.jit(lambda: nnx.state(make()))()]
    leaves = [x for x in jax.tree.leaves(nnx.state(found[:2])) if x.shape == SHAPE]
    leaves += [x for x in jax.tree.leaves(found[2]) if x.shape == SHAPE]
    assert len(leaves) == 9
    return leaves


WAYS = [
    made,
    made_in_jit,
    of_metadata,
    of_values_from_elsewhere,
    set_to,
    copied_with_a_value,
    updated,
    merged,
    of_linen,
    wrapped,
    wrapped_by_rules,
    averaged,
    optimized,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
def test_a_value_lies_as_its_variable_says(way, mesh):
    found = way()
    assert found
    assert [spec(x) for x in found] == [NAMES] * len(found)


def test_what_is_already_split_stays(mesh):
    model = Weight()
    model.w[...] = jax.device_put(np.zeros(SHAPE), NamedSharding(mesh, P(None, "data")))
    assert spec(model.w) == (None, "data") or mesh.axis_types[0] == AxisType.Explicit


def test_switched_off(mesh):
    model = Weight(eager_sharding=False)
    model.w[...] = np.zeros(SHAPE)
    assert isinstance(model.w.get_value(), (np.ndarray, jax.Array))
    assert not isinstance(getattr(model.w.get_value(), "sharding", None), NamedSharding) or (
        spec(model.w) == (None, None)
    )


@pytest.mark.parametrize("key", ["out_sharding", "sharding", "sharding_names"])
def test_a_sharding_in_place_of_names(key, mesh):
    sharding = NamedSharding(mesh, P(*NAMES))

    def make():
        return nnx.Param(jnp.ones(SHAPE), **{key: sharding})

    traced = nnx.jit(make)()
    assert spec(make()) == spec(traced) == NAMES
    assert nnx.get_partition_spec(nnx.State({"w": traced})).w.raw_value == P(*NAMES)
    assert nnx.eval_shape(make).shape == SHAPE
    moments = adam(nnx.Dict(w=traced))
    assert of_shape(moments) == [NAMES, NAMES]


def test_a_format_in_place_of_names(mesh):
    sharding = NamedSharding(mesh, P(*NAMES))
    make_layout = getattr(jax_layout, "DeviceLocalLayout", None) or jax_layout.Layout
    make_format = jax_layout.Format
    placed = make_format(make_layout(major_to_minor=(1, 0)), sharding)

    def make():
        return nnx.Param(jnp.ones(SHAPE), out_sharding=placed)

    assert spec(make()) == spec(nnx.jit(make)()) == NAMES


def test_a_sharding_has_no_names_for_new_axes_but_those_of_its_mesh(mesh):
    sharding = NamedSharding(mesh, P("data", "model"))
    for name, expected in (("layers", None), (None, None)):
        variable = nnx.Param(jnp.ones(SHAPE), out_sharding=sharding)
        metadata = {nnx.PARTITION_NAME: name}
        nnx.spmd.add_axis(nnx.State({"w": variable}), 1, metadata)
        assert tuple(variable.out_sharding.spec) == ("data", expected, "model")
        nnx.spmd.remove_axis(nnx.State({"w": variable}), 1, metadata)
        assert variable.out_sharding == sharding


# ZeRO: the optimizer's state of a variable is divided; the variable isn't.


@pytest.mark.parametrize(
    ("names", "expected", "divided"),
    [
        (None, (None, None), ("model", "data")),
        ((None, None), (None, None), P("model", "data")),
        (NAMES, NAMES, ("data", None)),
    ],
)
def test_optimizer_sharding(names, expected, divided, mesh):
    model = Weight(names, optimizer_sharding=divided)
    optimizer = adam(model)
    assert spec(model.w) == expected
    assert of_shape(optimizer) == [tuple(divided)] * 2
    moment = optimizer.opt_state[0].mu.w
    assert moment.out_sharding == divided
    assert not moment.has_metadata("optimizer_sharding")

    plain = Weight(None)
    reference = adam(plain)

    def step(model, optimizer):
        grads = nnx.grad(lambda m: jnp.sum(m.w[...] ** 2))(model)
        optimizer.update(model, grads)

    for run in (step, nnx.jit(step)):
        run(model, optimizer)
        run(plain, reference)
        assert spec(model.w) == expected
        assert of_shape(optimizer) == [tuple(divided)] * 2
    np.testing.assert_array_equal(model.w[...], plain.w[...])


def test_optimizer_sharding_by_rules_and_as_a_sharding(mesh):
    by_rules = Weight(
        None, optimizer_sharding=("a", "b"), sharding_rules=(("a", "model"), ("b", "data"))
    )
    assert of_shape(adam(by_rules)) == [("model", "data")] * 2
    whole = Weight(None, optimizer_sharding=NamedSharding(mesh, P("model")))
    assert of_shape(adam(whole)) == [("model", None)] * 2


def test_a_moment_of_a_different_shape_is_not_laid_out(mesh):
    class Wide(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.ones((128, 128)), out_sharding=NAMES)

    optimizer = nnx.Optimizer(Wide(), optax.adafactor(1e-3), wrt=nnx.Param)
    assert {x.ndim for x in jax.tree.leaves(nnx.state(optimizer))} == {0, 1}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("data", None, None), ["(8, 4)", "2 axes", "3 names"]),
        (("data", "pipe"), ["pipe", "not found in mesh", "logical_axis_rules"]),
        ((None, NAMES), ["(8, 4)", "axis 1", "8 devices", "size 4"]),
    ],
)
def test_names_that_don_t_fit(names, words, mesh):
    with pytest.raises(ArgumentError) as info:
        Weight(names)
    assert all(word in str(info.value) for word in words), info.value


def test_what_the_devices_don_t_divide_is_given_a_size_that_they_divide(mesh):
    hints.try_remedy(
        hints.Remedy(
            "Choose a size that they divide, or None for that axis, which leaves it unsplit.",
            lambda: Weight(("model", None), shape=(3, 4)),
            lambda: [Weight(("model", None), shape=(8, 4)), Weight((None, None), shape=(3, 4))],
        )
    )


def test_inside_shard_map_manual_axes_are_left_out(mesh):
    model = Weight((None, None))

    @nnx.shard_map(mesh=mesh, in_specs=(P(),), out_specs=P("data"))
    def f(model):
        own = nnx.Param(jnp.ones((2, 4)), out_sharding=("data", None))
        return own[...] * model.w[0, 0]

    assert f(model).shape == (8, 4)


def test_boxes_keep_their_rules(mesh):
    rules = (("in", "data"), ("out", "model"))
    box = linen.LogicallyPartitioned(jnp.ones(SHAPE), ("in", "out"), rules=rules)
    variable = nnx.bridge.to_nnx_var("params", box)
    assert variable.sharding_rules == rules
    assert nnx.get_partition_spec(nnx.State({"w": variable})).w.raw_value == P(*NAMES)
    back = nnx.bridge.to_linen_var(variable)
    assert isinstance(back, linen.LogicallyPartitioned)
    assert (back.names, back.rules) == (("in", "out"), rules)
    meta = nnx.bridge.to_linen_var(
        nnx.Param(jnp.ones(SHAPE), out_sharding=("in", "out"), sharding_rules=rules)
    )
    assert meta.get_partition_spec() == P(*NAMES)
