"""Constraints on a mesh of eight devices, which test_devices.py runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen as nn
from linnet.module_core.errors import ArgumentError
from linnet.module_core.linen.sharding import mesh as meshes
from linnet.module_core.linen.sharding import partitioning as older

KEY = jax.random.key(0)
RULES = (("batch", "data"), ("mlp", "model"), ("embed", None))
ones = jax.nn.initializers.ones

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


def make_mesh(kind=AxisType.Auto, shape=(4, 2)):
    devices = np.array(jax.devices()).reshape(shape)
    return Mesh(devices, ("data", "model"), axis_types=(kind, kind))


@pytest.fixture
def mesh():
    assert len(jax.devices()) == 8
    mesh = make_mesh()
    with set_mesh(mesh):
        yield mesh


def spec(*names):
    return PartitionSpec(*names)


def layout(x):
    spec = tuple(x.sharding.spec)
    return spec + (None,) * (x.ndim - len(spec))


def test_the_mesh_that_is_set():
    assert meshes.get_global_mesh() is None
    with set_mesh(make_mesh()):
        assert meshes.global_mesh_defined()
        assert meshes.get_global_mesh() == make_mesh().abstract_mesh
    assert not meshes.global_mesh_defined()


def test_unboxing_lays_out(mesh):
    x = np.arange(32.0).reshape(8, 4)
    with jax.default_device(jax.devices()[0]):
        elsewhere = jnp.asarray(x)
    for value in (x, jnp.asarray(x), elsewhere, jax.device_put(x, NamedSharding(mesh, spec()))):
        box = nn.Partitioned(value, ("data", "model"))
        assert layout(box.unbox()) == ("data", "model")
        np.testing.assert_array_equal(box.unbox(), x)
        assert box.unbox(apply_constraint=False) is value
    tree = nn.Partitioned({"a": x, "b": "no array"}, ("model",)).unbox()
    assert layout(tree["a"]) == ("model", None)
    assert tree["b"] == "no array"


def test_a_box_may_bring_its_mesh():
    x = jnp.ones((8, 4))
    own = make_mesh(shape=(2, 4))
    assert layout(nn.Partitioned(x, ("data", "model"), own).unbox()) == ("data", "model")
    box = nn.LogicallyPartitioned(x, ("batch", "mlp"), own, RULES)
    with set_mesh(make_mesh()):
        assert box.unbox().sharding.mesh.shape["model"] == 4


def test_logical_names_need_rules(mesh):
    x = jnp.ones((8, 4))
    box = nn.LogicallyPartitioned(x, ("batch", "mlp"))
    assert box.unbox() is x
    with nn.logical_axis_rules(RULES):
        assert layout(box.unbox()) == ("data", "model")
        swapped = nn.LogicallyPartitioned(x, ("batch", "mlp"), rules=[("mlp", "data")])
        assert layout(swapped.unbox()) == (None, "data")


def test_constraints_of_trees_and_fallbacks(mesh):
    x = jnp.ones((8, 4))
    with nn.logical_axis_rules(RULES):
        tree = nn.with_logical_constraint(
            {"a": x, "b": x, "c": {"d": x}}, {"a": ("batch", "mlp"), "b": None, "c": ("mlp", None)}
        )
        assert layout(tree["a"]) == ("data", "model")
        assert layout(tree["b"]) == (None, None)
        assert nn.with_logical_constraint(tree, None) is tree
        assert layout(tree["c"]["d"]) == ("model", None)
        fallback = nn.RulesFallback
        assert layout(nn.with_logical_constraint(x, ("unknown", "mlp"))) == (None, "model")
        names = ("unknown", "mlp")
        assert nn.with_logical_constraint(x, names, fallback=fallback.NO_CONSTRAINT) is x
        with pytest.raises(ArgumentError, match="did not match a rule: unknown"):
            nn.with_logical_constraint(x, names, fallback=fallback.RAISE_ERROR)


def test_axes_that_are_not_there(mesh):
    with pytest.raises(ArgumentError, match="mesh has no axis 'rows' .*'data', 'model'"):
        nn.Partitioned(jnp.ones((8, 4)), ("rows", None)).unbox()
    with pytest.raises(ArgumentError, match=r"shape \(8,\) cannot be laid out .* 2 axes"):
        nn.Partitioned(jnp.ones(8), ("data", None)).unbox()


def test_boxes_around_shapes_can_be_unboxed(mesh):
    init = nn.with_partitioning(ones, ("data", "model"))
    box = jax.eval_shape(lambda: init(KEY, (8, 4)))
    assert nn.unbox(box).shape == (8, 4)


class Affine(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_logical_partitioning(ones, ("embed", "mlp"))
        return x @ self.param("kernel", init, (4, 8))


def constraints(program):
    return [
        tuple(e.params["sharding"].spec)
        for e in program.jaxpr.eqns
        if e.primitive.name == "sharding_constraint"
    ]


def test_a_module_reads_its_parameters_laid_out_and_once(mesh):
    x = jnp.ones((2, 4))
    with nn.logical_axis_rules(RULES):
        variables = Affine().init(KEY, x)
        program = jax.make_jaxpr(Affine().apply)(variables, x)
        assert constraints(program) == [(None, "model")]
    assert constraints(jax.make_jaxpr(Affine().apply)(variables, x)) == []


def test_variables_of_the_older_vocabulary_are_laid_out(mesh):
    class Count(nn.Module):
        @nn.compact
        def __call__(self):
            p = older.param_with_axes("p", ones, (4,), axes=("mlp",))
            n = older.variable_with_axes("state", "n", jnp.zeros, (4,), axes=("mlp",))
            n.value = n.value + 1
            return p

    variables = {"params": {"p": jnp.ones(4)}, "state": {"n": jnp.ones(4)}}
    with nn.logical_axis_rules(RULES):
        program = jax.make_jaxpr(lambda v: Count().apply(v, mutable=["state"]))(variables)
    assert constraints(program) == [("model",)] * 3  # the parameter, reading, writing


def test_explicit_meshes_move_arrays():
    mesh = make_mesh(AxisType.Explicit)
    with set_mesh(mesh):
        box = nn.Partitioned(jnp.ones((8, 4)), ("data", "model"))
        assert layout(box.unbox()) == ("data", "model")
        assert layout(jax.jit(lambda b: b.unbox())(box)) == ("data", "model")


def test_axes_that_shard_map_has_split_are_left_out(mesh):
    def body(x):
        return 2 * nn.Partitioned(x, ("data", "model")).unbox()

    x = jnp.arange(32.0).reshape(8, 4)
    whole = jax.shard_map(body, in_specs=spec("data", "model"), out_specs=spec("data", "model"))
    np.testing.assert_array_equal(jax.jit(whole)(x), 2 * x)
    part = jax.shard_map(
        body, in_specs=spec("data"), out_specs=spec("data"), axis_names=frozenset({"data"})
    )
    np.testing.assert_array_equal(jax.jit(part)(x), 2 * x)


def test_layouts_from_boxes(mesh):
    x = jnp.ones((2, 4))
    specs = nn.get_partition_spec(jax.eval_shape(Affine().init, KEY, x))
    shardings = nn.logical_to_mesh_sharding(specs, mesh, RULES)
    variables = jax.jit(Affine().init, out_shardings=shardings)(KEY, x)
    kernel = variables["params"]["kernel"].value
    assert isinstance(kernel.sharding, NamedSharding)
    assert {s.data.shape for s in kernel.addressable_shards} == {(4, 4)}
    np.testing.assert_array_equal(kernel, np.ones((4, 8)))
