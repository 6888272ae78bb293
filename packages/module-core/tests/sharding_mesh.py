"""`linnet.sharding` on eight devices, which test_devices.py runs: models made in their layouts."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen as nn
from linnet.module_core import nnx, sharding
from linnet.module_core.errors import ArgumentError
from linnet.module_core.nnx.training import initial_states, optimizer

P = PartitionSpec
set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
WIDTH, LAYERS = 64, 12
TX = optax.adam(1e-3)
RULES = [("kernel", P(None, "data", "model")), ("cache", P(None, "data")), (..., P())]


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


def normal(key, *shape):
    return jax.random.normal(key, shape) / WIDTH


# The names in the arrays' own metadata; the rules for stacks say the same.
NAMES = {"kernel": ("data", "model"), "scale": (None,), "cached": ("data", None)}


class Block(nnx.Module):
    def __init__(self, rngs, **options):
        names = {name: {"out_sharding": axes, **options} for name, axes in NAMES.items()}
        self.kernel = nnx.Param(normal(rngs.params(), WIDTH, WIDTH), **names["kernel"])
        self.scale = nnx.Param(jnp.ones(WIDTH), **names["scale"])
        self.cached = nnx.Cache(jnp.zeros((16, WIDTH)), **names["cached"])


class Model(nnx.Module):
    def __init__(self, rngs, **options):
        # In a loop, layer by layer; vmap would draw the numbers of all layers at once.
        self.blocks = nnx.Repeat(Block, LAYERS, rngs=rngs, **options)


def nnx_state():
    model = Model(nnx.Rngs(0))
    return model, nnx.Optimizer(model, TX, wrt=nnx.Param), nnx.EMA(model, 0.99, only=nnx.Param)


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        kernel = self.param("kernel", boxed(normal, "kernel"), WIDTH, WIDTH)
        cached = self.variable("cache", "cached", boxed(jnp.zeros, "cached"), (16, WIDTH))
        return x @ kernel + cached.value.sum(), None


def boxed(init, name):
    return nn.with_partitioning(init, NAMES[name])


class LinenModel(nn.Module):
    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(
            LinenBlock,
            variable_axes={"params": 0, "cache": 0},
            split_rngs={"params": True},
            length=LAYERS,
            metadata_params={nn.PARTITION_NAME: None},
        )
        return blocks(name="blocks")(x, None)[0]


def linen_state():
    variables = LinenModel().init(jax.random.key(0), jnp.ones((1, WIDTH)))
    average = jax.tree.map(jnp.copy, variables["params"])
    return variables, TX.init(variables["params"]), average


def peak(compiled):
    memory = compiled.memory_analysis()
    return memory.output_size_in_bytes + memory.temp_size_in_bytes - memory.alias_size_in_bytes


@pytest.mark.parametrize("style", ["linen", "nnx"])
@pytest.mark.parametrize("by", ["rules", "names"])
def test_made_in_one_program_each_device_makes_its_part(style, by, mesh):
    """Parameters, moments, averages, stacks and caches; no device exceeds its part at any time."""
    make = nnx_state if style == "nnx" else linen_state
    shapes = nnx.eval_shape(make) if style == "nnx" else jax.eval_shape(make)
    layouts = sharding.named_shardings(shapes, RULES, mesh)
    report = sharding.byte_report(shapes, layouts)
    if by == "names":
        layouts = nn.get_sharding(shapes, mesh) if style == "linen" else None
    with set_mesh(mesh) if by == "names" else contextlib.nullcontext():
        made, compiled = run(style, make, layouts)
    of = sharding.byte_report(made)
    assert of.per_device == report.per_device
    split = [row.path for row in of.rows if row.per_device < row.total]
    kernels = LAYERS * WIDTH * WIDTH * 4
    caches = LAYERS * 16 * WIDTH * 4
    # A kernel, two moments of it, and its average; and a cache.
    assert len(split) == 5, split
    assert sum(row.per_device for row in of.rows if row.path in split) == (
        4 * kernels // 8 + caches // 4
    )
    layer = WIDTH * WIDTH * 4
    assert peak(compiled) <= 1.05 * report.per_device + layer


def run(style, make, layouts):
    """The result of `make` in one program, and the program."""
    if style == "nnx":
        jitted = nnx.jit(make, out_shardings=layouts)
        return jitted(), jitted.lower().compile()
    compiled = jax.jit(make, out_shardings=layouts).lower().compile()
    return compiled(), compiled


class Divided(nnx.Module):
    """A model in which only the optimizer's state is divided."""

    def __init__(self, rngs):
        def block(rngs):
            kernel = normal(rngs.params(), WIDTH, WIDTH)
            names = {"out_sharding": (None, None), "optimizer_sharding": ("rows", "columns")}
            return nnx.Dict(kernel=nnx.Param(kernel, **names))

        self.blocks = nnx.Repeat(block, LAYERS, rngs=rngs)


def test_optimizer_sharding_by_names(mesh):
    """ZeRO-1: parameters are whole, moments are split, and are never whole."""

    def make():
        model = Divided(nnx.Rngs(0))
        return model, nnx.Optimizer(model, TX, wrt=nnx.Param)

    with set_mesh(mesh), nnx.logical_axis_rules([("rows", "data"), ("columns", "model")]):
        (model, optimizer), compiled = run("nnx", make, None)
        _, alone = run("nnx", lambda: Divided(nnx.Rngs(0)), None)
    kernel = model.blocks.block["kernel"]
    assert kernel.get_value().sharding.is_fully_replicated
    moments = [x for x in jax.tree.leaves(nnx.state(optimizer)) if x.shape == kernel.shape]
    assert len(moments) == 2
    assert all(x.sharding.spec == P(None, "data", "model") for x in moments)
    # Each device draws each kernel whole. As without an optimizer, that takes the memory of a few
    # copies of one layer's kernel. The compiler of jax 0.6 copies the stack of kernels once.
    size = kernel.size * 4
    copies = size if jax.__version_info__ < (0, 7) else 0
    assert peak(compiled) <= 1.05 * (peak(alone) + 2 * size // 8) + copies


def of_values(params):
    """A first state that is computed from the values."""
    return jax.tree.map(lambda p: jnp.full_like(p, jnp.max(p)), params)


def started(init):
    return optax.GradientTransformation(init, optax.identity().update)


MANY_AT_A_TIME = {
    "adam": optax.adam(1e-3, mu_dtype="bfloat16"),
    "chain": optax.chain(optax.clip(1.0), optax.sgd(optax.constant_schedule(0.1), momentum=0.9)),
    "masked": optax.masked(optax.adamw(1e-3), lambda p: jax.tree.map(lambda x: x.ndim == 2, p)),
    "factored": optax.adafactor(1e-3, min_dim_size_to_factor=8),
}
ONE_BY_ONE = {
    "copies and a number": started(lambda params: {"slow": params, "three": 3}),
    "values": started(of_values),
}
TRANSFORMATIONS = MANY_AT_A_TIME | ONE_BY_ONE


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_states_made_many_at_a_time_are_those_made_one_by_one(name, mesh, monkeypatch):
    tx = TRANSFORMATIONS[name]
    initial_states._program.cache_clear()
    monkeypatch.setattr(initial_states, "_AT_ONCE", 2)
    put = lambda x, *axes: nnx.Param(jax.device_put(x, NamedSharding(mesh, P(*axes))))  # noqa: E731
    kernels = [put(np.full((8, 16), i, np.float32), "data", "model") for i in range(5)]
    model = nnx.Dict(kernels=nnx.List(kernels), bias=put(np.ones(4, np.float32), "data"))
    made = nnx.Optimizer(model, tx, wrt=nnx.Param)
    assert bool(initial_states._program.cache_info().currsize) == (name in MANY_AT_A_TIME)
    monkeypatch.setattr(optimizer, "initial_state", lambda init, params: init(params))
    expected = nnx.Optimizer(model, tx, wrt=nnx.Param)
    a, b = (nnx.state(x) for x in (made, expected))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (type(x), jnp.shape(x)) == (type(y), jnp.shape(y))
        np.testing.assert_array_equal(x, y)
        if isinstance(x, jax.Array):
            assert (x.dtype, x.weak_type) == (y.dtype, y.weak_type)
            assert x.sharding.is_equivalent_to(y.sharding, x.ndim)


def test_optimizer_sharding_by_rules(mesh):
    """ZeRO-1: parameters are whole, moments are split."""
    state = jax.eval_shape(linen_state)
    rules = [("^0/", P()), ("kernel", P(None, "data")), (..., P())]
    layouts = sharding.named_shardings(state, rules, mesh)
    variables, moments, _ = jax.jit(linen_state, out_shardings=layouts)()
    assert variables["params"]["blocks"]["kernel"].value.sharding.is_fully_replicated
    assert moments[0].mu["blocks"]["kernel"].value.sharding.spec == P(None, "data")


def test_place_from_anywhere(mesh):
    layout = NamedSharding(mesh, P("data", "model"))
    x = np.arange(32.0, dtype=np.float32).reshape(8, 4)
    keys = jax.random.split(jax.random.key(0), 8)
    sources = [x, jnp.asarray(x), jax.device_put(x, jax.devices()[3])]
    sources += [jax.device_put(x, NamedSharding(mesh, P("model")))]
    for source in sources:
        placed = sharding.place({"x": source, "k": keys}, {"x": layout, "k": layout_of_keys(mesh)})
        assert placed["x"].sharding == layout
        np.testing.assert_array_equal(placed["x"], x)
        assert placed["k"].sharding == layout_of_keys(mesh)
        assert (placed["k"] == keys).all()
    inside = jax.jit(lambda x: sharding.place({"x": x}, {"x": layout})["x"])(x)
    assert inside.sharding.is_equivalent_to(layout, 2)
    with pytest.raises(ArgumentError, match="'x' cannot be laid out"):
        sharding.place({"x": x[:3]}, {"x": layout})


def layout_of_keys(mesh):
    return NamedSharding(mesh, P("data"))


def test_copies_that_differ(mesh):
    everywhere = NamedSharding(mesh, P("model"))
    good = jax.device_put(np.arange(4.0), everywhere)
    parts = [shard.data for shard in good.addressable_shards]
    parts[5] = parts[5] + 1
    bad = jax.make_array_from_single_device_arrays((4,), everywhere, parts)
    sharding.check_replicated({"good": good})
    with pytest.raises(ArgumentError, match="Copies of 1 value differ:\n  bad: device .*5"):
        sharding.check_replicated({"good": good, "bad": bad})
