"""Layouts of nnx variables on eight devices, which test_devices.py runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import layout as layouts
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import hints
from linnet.module_core import draws, nnx
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers.nnx import Layer as LayerOfLinnet
from linnet.module_core.layers.nnx import new_param

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
# (1, 1) for the single device of tools that import every file to look for doctests.
DEVICES = np.array(jax.devices()).reshape(-1, 2 if len(jax.devices()) > 1 else 1)
MESH = Mesh(DEVICES, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
P = PartitionSpec


def on(*names):
    return NamedSharding(MESH, P(*names))


def transposed(sharding):
    """The format of a matrix that is stored column by column."""
    # jax 0.7 renamed DeviceLocalLayout to Layout, which was the name of Format before.
    order = getattr(layouts, "DeviceLocalLayout", None) or layouts.Layout
    return layouts.Format(order((1, 0)), sharding)


class Layer(nnx.Module):
    def __init__(self, rows=8, columns=4, **metadata):
        self.kernel = nnx.Param(jnp.ones((rows, columns)), **metadata)
        self.bias = nnx.Param(jnp.zeros(columns))


LAYOUT = nnx.StateSharding(nnx.State({"kernel": on("data", "model"), "bias": on("model")}))


def specs(layer):
    return [layer.kernel.get_value().sharding.spec, layer.bias.get_value().sharding.spec]


def test_shardings_by_path_in_and_out():
    made = nnx.jit(Layer, out_shardings=LAYOUT)()
    assert specs(made) == [P("data", "model"), P("model")]
    layer = Layer()
    nnx.jit(lambda m: None, in_shardings=(LAYOUT,))(layer)
    assert specs(layer) == [P("data", "model"), P("model")]


def test_shardings_in_the_form_of_what_they_are_for():
    with set_mesh(MESH):
        abstract = nnx.eval_shape(lambda: Layer(out_sharding=("data", "model")))
        state = nnx.get_named_sharding(nnx.state(abstract), MESH)
        module = nnx.get_named_sharding(abstract, MESH)
    for given in (nnx.StateSharding(state), module):
        layer = nnx.jit(Layer, out_shardings=given)()
        assert specs(layer) == [P("data", "model"), P()]
        layer = Layer()
        nnx.jit(lambda m: None, in_shardings=(given,))(layer)
        assert specs(layer) == [P("data", "model"), P()]
    held = nnx.state(Layer())
    nnx.jit(lambda s: None, in_shardings=(state,))(held)
    assert held.kernel.get_value().sharding.spec == P("data", "model")


@pytest.mark.parametrize("replaced", ["value", "variable", "array"])
def test_a_module_leaves_with_the_shardings_that_it_came_in_with(replaced):
    filters = nnx.StateSharding({nnx.PathContains("kernel"): on("data", "model"), ...: on()})

    @nnx.jit(in_shardings=(filters, None), static_argnames=("how",))
    def touch(layer, factor, how):
        other = jax.lax.with_sharding_constraint(layer.kernel[...] * factor, on("model", "data"))
        if how == "value":
            layer.kernel.set_value(other)
        else:
            layer.kernel = nnx.Param(other) if how == "variable" else other

    layer = Layer(8, 8)
    touch(layer, 2.0, how=replaced)
    assert jax.tree.leaves(layer.kernel)[0].sharding.spec == P("data", "model")


@pytest.mark.parametrize("format", [False, True])
def test_a_layout_of_jax_as_out_sharding(format):
    layout = transposed(on("data", "model")) if format else on("data", "model")
    for param in (
        Layer(out_sharding=layout).kernel,
        nnx.Param(nnx.with_partitioning(lambda: jnp.ones((8, 4)), layout)()),
    ):
        assert param.get_value().sharding == on("data", "model")
        assert nnx.get_partition_spec(nnx.State({"w": param})).w.raw_value == P("data", "model")
        assert nnx.get_named_sharding(nnx.State({"w": param}), MESH).w.raw_value == on(
            "data", "model"
        )
    made = nnx.jit(lambda: Layer(out_sharding=layout))()
    assert made.kernel.get_value().sharding.spec == P("data", "model")
    many = nnx.vmap(
        lambda _: Layer(out_sharding=on("data", "model")),
        transform_metadata={"partition_name": None},
    )(jnp.arange(3))
    assert many.kernel.sharding_names == on(None, "data", "model")


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_out_shardings_say_which_mesh_it_is_where_none_is_set(kind):
    mesh = Mesh(DEVICES, ("data", "model"), axis_types=(kind,) * 2)
    wanted = NamedSharding(mesh, P("data"))
    make = nnx.jit(lambda: nnx.Param(jnp.ones((8, 4))), out_shardings=wanted)
    assert make().get_value().sharding.is_equivalent_to(wanted, 2)
    assert make.lower().compile()().get_value().sharding.is_equivalent_to(wanted, 2)
    doubled = nnx.jit(lambda p: p[...] * 2, out_shardings=wanted)(nnx.Param(jnp.ones((8, 4))))
    assert doubled.sharding.is_equivalent_to(wanted, 2)
    assert np.array_equal(doubled, np.full((8, 4), 2))
    # Also inside a program without a mesh, and for a module that the function doesn't change.
    inside = jax.jit(lambda x: nnx.jit(lambda x: x * 2, out_shardings=wanted)(x))
    assert inside(jnp.ones((8, 4))).sharding.is_equivalent_to(wanted, 2)
    param = nnx.Param(jnp.ones((8, 4)))
    for same in (param, nnx.state({"param": param})):
        nnx.jit(lambda p: p, out_shardings=wanted)(same)
        assert param.get_value().sharding.is_equivalent_to(wanted, 2)
        param.set_value(jnp.ones((8, 4)))


def test_formats_of_inputs_and_outputs():
    wanted = transposed(on("data", "model"))
    layout = nnx.StateSharding({nnx.PathContains("kernel"): wanted, ...: on()})

    def order(x):
        return getattr(x, "format", None) or x.layout

    made = nnx.jit(Layer, out_shardings=layout)()
    assert order(made.kernel.get_value()) == order(jax.device_put(jnp.ones((8, 4)), wanted))
    assert made.bias.get_value().sharding == on()
    out = nnx.jit(lambda m: m.kernel[...] + 1, out_shardings=wanted)(Layer())
    assert order(out) == order(made.kernel.get_value())
    layer = Layer()

    @nnx.jit(in_shardings=(layout,))
    def grow(m):
        m.kernel[...] += 1

    for _ in range(2):
        grow(layer)
        assert order(layer.kernel.get_value()) == order(out)
    np.testing.assert_array_equal(layer.kernel[...], np.full((8, 4), 3.0))


def test_shard_map_leaves_variables_in_their_shards():
    layer = Layer()
    split = nnx.StateSharding(nnx.State({"kernel": P("data", "model"), "bias": P("model")}))

    @nnx.shard_map(mesh=MESH, in_specs=(split,), out_specs=None)
    def scale(layer):
        assert layer.kernel.shape == (2, 2)
        assert layer.bias.shape == (2,)
        layer.kernel[...] *= 3

    scale(layer)
    assert specs(layer) == [P("data", "model"), P("model")]
    np.testing.assert_array_equal(layer.kernel[...], np.full((8, 4), 3.0))


def test_a_dimension_that_the_mesh_does_not_divide():
    class Net(nnx.Module):
        def __init__(self):
            self.layers = nnx.List([Layer(n, out_sharding=("data", "model")) for n in (8, 15)])

    with (
        set_mesh(MESH),
        pytest.raises(
            ArgumentError, match=r"Param of Layer in Net, of shape \(15, 4\), .*axis 0, of size 15"
        ),
    ):
        Net()
    # What the hint says: a multiple, or None.
    with set_mesh(MESH):
        assert Layer(16, out_sharding=("data", "model")).kernel.shape == (16, 4)
        assert Layer(15, out_sharding=(None, "model")).kernel.shape == (15, 4)


def test_an_argument_that_the_mesh_does_not_divide():
    def kernel_of(layer, *names):
        shardings = nnx.StateSharding({nnx.PathContains("kernel"): on(*names), ...: None})
        return nnx.jit(lambda layer: layer.kernel[...] * 2, in_shardings=(shardings,))(layer)

    hints.try_remedy(
        hints.Remedy(
            "Choose a size that they divide, or None for that axis, which leaves it unsplit.",
            lambda: kernel_of(Layer(15), "data", "model"),
            lambda: [
                kernel_of(Layer(16), "data", "model"),
                kernel_of(Layer(15), None, "model"),
            ],
        )
    )


@pytest.mark.parametrize("transform", ["jit", "shard_map"])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (jnp.ones(15), [r"x['a'], of shape (15,)", "4 devices of 'data'", "of size 15"]),
        (jnp.ones(()), [r"x['a'], of shape ()", "('data',)", "1 axis"]),
    ],
    ids=["size", "rank"],
)
def test_an_array_is_named_that_its_sharding_does_not_fit(transform, x, words):
    def doubled(layer, x):
        return x["a"] * 2

    options = {"in_shardings": (None, on("data"))}
    if transform == "shard_map":
        options = {"mesh": MESH, "in_specs": (P(), P("data")), "out_specs": P("data")}
    call = functools.partial(getattr(nnx, transform)(doubled, **options), Layer())
    with pytest.raises(ArgumentError) as info:
        call({"a": x})
    assert all(word in str(info.value) for word in [f"nnx.{transform} cannot lay out", *words])
    assert call({"a": jnp.ones(16)}).shape == (16,)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (Layer, r"the result.bias, of shape (4,)"),
        (lambda: {"layers": [Layer()]}, r"the result['layers'][0].bias, of shape (4,)"),
        (lambda: [jnp.ones((8, 4)), jnp.ones(4)], r"the result[1], of shape (4,)"),
    ],
)
def test_a_result_is_named_that_its_sharding_does_not_fit(make, where):
    for run in (nnx.jit(make, out_shardings=on("data", "model")), created(make)):
        with pytest.raises(ArgumentError) as info:
            run()
        text = str(info.value)
        assert f"nnx.jit cannot lay out {where} by ('data', 'model'), which is for 2 axes" in text


def created(make):
    return lambda: nnx.create(make, shardings=on("data", "model"))


class Drawn(nnx.Module):
    def __init__(self, rows, *, rngs):
        init = nnx.with_partitioning(jax.nn.initializers.uniform(), ("data", "model"))
        self.kernel = nnx.Param(init(rngs.params(), (rows, 4)))
        self.bias = nnx.Param(jax.random.uniform(rngs.params(), (4,)))
        self.rows = rows


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_model_is_created_on_its_shardings(kind):
    mesh = Mesh(DEVICES, ("data", "model"), axis_types=(kind,) * 2)
    rngs, others = nnx.Rngs(0), nnx.Rngs(0)
    made, expected = nnx.create(Drawn, 8, rngs=rngs, mesh=mesh), Drawn(8, rngs=others)
    assert specs(made)[0] == P("data", "model")
    assert made.bias.get_value().sharding.is_fully_replicated
    assert made.bias.get_value().sharding.mesh == mesh
    assert made.rows == 8
    assert rngs.default.count.get_value() == others.default.count.get_value() == 2
    np.testing.assert_array_equal(made.kernel.get_value(), expected.kernel.get_value())
    np.testing.assert_array_equal(made.bias.get_value(), expected.bias.get_value())

    whole = nnx.create(Drawn, 8, rngs=nnx.Rngs(0), shardings=NamedSharding(mesh, P("model")))
    assert [spec[0] for spec in specs(whole)] == ["model", "model"]
    state = nnx.get_named_sharding(nnx.state(nnx.eval_shape(lambda: expected)), mesh)
    given = nnx.create(Drawn, 8, rngs=nnx.Rngs(0), shardings=nnx.StateSharding(state))
    assert specs(given)[0] == P("data", "model")
    with pytest.raises(ArgumentError, match="don't divide its axis 0, of size 3"):
        nnx.create(Drawn, 3, rngs=nnx.Rngs(0), mesh=mesh)


class Drawing(LayerOfLinnet):
    """Draws of one kind, with two shardings."""

    def __init__(self, *, rngs):
        init = jax.nn.initializers.uniform()
        for i, names in enumerate((("data", "model"), ("model", None)) * 3):
            value = new_param(self, init, (512, 64), jnp.float32, rngs, {"out_sharding": names})
            setattr(self, f"kernel_{i}", value)


def test_equal_draws_of_one_sharding_are_grouped(monkeypatch):
    def compiled():
        with set_mesh(MESH):
            lowered = nnx.jit(lambda: Drawing(rngs=nnx.Rngs(0))).lower()
            return lowered.as_text(), lowered.compile()

    text, grouped = compiled()
    made = nnx.create(Drawing, rngs=nnx.Rngs(0), mesh=MESH)
    monkeypatch.setattr(draws, "_LONGEST", 1)
    alone_text, alone = compiled()
    assert "_draw_all" in text
    assert "_draw_all" not in alone_text
    assert "all-gather" not in grouped.as_text()
    memory = [one.memory_analysis().temp_size_in_bytes for one in (grouped, alone)]
    assert memory[0] <= memory[1]
    expected = nnx.create(Drawing, rngs=nnx.Rngs(0), mesh=MESH)
    for path, value in nnx.state(made).flat_state():
        other = nnx.state(expected)[path[0]].get_value()
        np.testing.assert_array_equal(value.get_value(), other)
        assert value.get_value().sharding == other.sharding
