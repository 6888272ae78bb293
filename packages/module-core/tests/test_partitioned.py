"""Boxes that name the axes of their values, and what modules and transforms make of them."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen as nn
from linnet.module_core.errors import (
    ArgumentError,
    ArgumentTypeError,
    PartitioningUnspecifiedError,
    ScopeParamShapeError,
)
from linnet.module_core.linen import metadata

ones = jax.nn.initializers.ones
KEY = jax.random.key(0)
NEW = {nn.PARTITION_NAME: "new"}


def one_device():
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))


def is_box(x):
    return isinstance(x, nn.Partitioned)


def names(tree):
    return jax.tree.map(lambda x: x.names if is_box(x) else None, tree, is_leaf=is_box)


class Affine(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        kernel = self.param("kernel", nn.with_partitioning(ones, ("in", "out")), (3, 3))
        bias = self.param("bias", nn.with_partitioning(ones, ("out",)), (3,))
        plain = self.param("plain", ones, ())
        return x @ kernel * plain + bias, None


@pytest.mark.parametrize("cls", [nn.Partitioned, nn.LogicallyPartitioned])
def test_a_box_is_a_pytree_around_its_value(cls):
    box = cls(jnp.arange(6.0).reshape(2, 3), ("a", None))
    doubled = jax.jit(lambda b: jax.tree.map(lambda v: 2 * v, b))(box)
    assert type(doubled) is cls
    assert doubled.names == ("a", None)
    np.testing.assert_array_equal(doubled.value, 2 * box.value)
    (path, _), *others = jax.tree_util.tree_flatten_with_path(box)[0]
    assert jax.tree_util.keystr(path) == ".value"
    assert not others
    gradient = jax.grad(lambda b: b.unbox().sum())(box)
    assert gradient.names == box.names
    assert pickle.loads(pickle.dumps(box)).names == box.names


def test_names_are_part_of_the_structure_and_lists_become_tuples():
    structure = jax.tree.structure(nn.Partitioned(1, ("a",)))
    assert structure == jax.tree.structure(nn.Partitioned(2, ["a"]))
    assert structure != jax.tree.structure(nn.Partitioned(1, ("b",)))
    assert repr(nn.Partitioned(3, ("a",))) == "Partitioned(value=3, names=('a',), mesh=None)"
    hash(jax.tree.structure(nn.LogicallyPartitioned(1, ("a",), rules=[("a", "b")])))


@pytest.mark.parametrize(
    ("size", "index"), [(size, index) for size in range(4) for index in range(-size - 1, size + 1)]
)
def test_an_axis_comes_where_it_is_in_the_value(size, index):
    shape = (5, 6, 7)[:size]
    box = nn.Partitioned(None, ("a", "b", "c")[:size])
    more = box.add_axis(index, NEW)
    expected = np.expand_dims(np.zeros(shape), index).shape.index(1)
    assert more.names.index("new") == expected
    assert more.remove_axis(index, NEW).names == box.names


def test_axes_behind_the_last_name_are_not_named():
    box = nn.Partitioned(None, ("a",)).add_axis(3, NEW)
    assert box.names == ("a", None, None, "new")
    assert box.remove_axis(3, NEW).names == ("a", None, None)
    unnamed = {nn.PARTITION_NAME: None}
    assert nn.Partitioned(None, ("a",)).remove_axis(1, unnamed).names == ("a",)
    assert nn.Partitioned(None, None).add_axis(1, NEW).names == (None, "new")


def test_an_axis_needs_a_name():
    box = nn.Partitioned(None, ("a", "b"))
    for change in (box.add_axis, box.remove_axis):
        with pytest.raises(PartitioningUnspecifiedError, match=r"\('a', 'b'\).*partition_name"):
            change(0, {})
    with pytest.raises(ArgumentError, match="'b' maps over axis 0 .* that axis is named 'a'"):
        box.remove_axis(0, {nn.PARTITION_NAME: "b"})


def test_a_string_is_not_a_tuple_of_names():
    for wrap in (nn.with_partitioning, nn.with_logical_partitioning):
        with pytest.raises(ArgumentTypeError, match="got the string 'model'"):
            wrap(ones, "model")
    with pytest.raises(ArgumentError, match="Unknown axis rule"):
        nn.with_logical_partitioning(ones, ("a",), rules=[("a",)])


def test_boxes_turn_into_specs_and_layouts():
    mesh = one_device()
    tree = {
        "box": nn.Partitioned(jnp.ones((2, 3)), ("data", None)),
        "shape": nn.Partitioned(jax.ShapeDtypeStruct((2,), jnp.float32), ("model",)),
        "array": jnp.ones(3),
        "numpy": np.ones(3),
        "number": 3,
        "none": None,
    }
    specs = nn.get_partition_spec(tree)
    none = PartitionSpec()
    expected = {
        "box": PartitionSpec("data", None),
        "shape": PartitionSpec("model"),
        "array": none,
        "numpy": none,
        "number": None,
        "none": None,
    }
    assert specs == expected
    shardings = nn.get_sharding(tree, mesh)
    for name, spec in expected.items():
        assert shardings[name] == (None if spec is None else NamedSharding(mesh, spec))


def test_layouts_need_a_mesh_with_these_axes():
    box = nn.Partitioned(jnp.ones(2), ("rows",))
    with pytest.raises(ArgumentError, match="no axis 'rows'.*'data', 'model'"):
        nn.get_sharding(box, one_device())
    with pytest.raises(ArgumentTypeError, match="Expected a mesh, got None"):
        box.get_sharding(None)


def test_metadata_of_stateful_variables():
    mesh = one_device()
    box = nn.Partitioned(3, ("a",), mesh)
    assert box.to_nnx_metadata() == {"value": 3, "mesh": mesh, "out_sharding": ("a",)}
    assert nn.Partitioned.from_nnx_metadata(box.to_nnx_metadata()) == box
    logical = nn.LogicallyPartitioned(3, ("a",), rules=(("a", "b"),))
    assert nn.LogicallyPartitioned.from_nnx_metadata(logical.to_nnx_metadata()) == logical
    with pytest.raises(ArgumentError, match="no 'out_sharding'"):
        nn.Partitioned.from_nnx_metadata({"value": 3})


def test_modules_see_values_and_leave_boxes():
    variables = Affine().init(KEY, jnp.ones((2, 3)))
    assert names(variables["params"]) == {
        "kernel": ("in", "out"),
        "bias": ("out",),
        "plain": None,
    }
    boxed, _ = Affine().apply(variables, jnp.ones((2, 3)))
    bare, _ = Affine().apply(nn.unbox(variables), jnp.ones((2, 3)))
    np.testing.assert_array_equal(boxed, np.full((2, 3), 4.0))
    np.testing.assert_array_equal(bare, boxed)


def test_shapes_are_those_of_the_values():
    variables = Affine().init(KEY, jnp.ones((2, 3)))
    variables["params"]["kernel"] = nn.Partitioned(jnp.ones((3, 2)), ("in", "out"))
    with pytest.raises(ScopeParamShapeError, match=r'"kernel".*\(3, 2\).*\(3, 3\)'):
        Affine().apply(variables, jnp.ones((2, 3)))


def test_variables_are_written_into_their_boxes():
    class Count(nn.Module):
        @nn.compact
        def __call__(self):
            count = self.variable("state", "n", nn.with_partitioning(jnp.zeros, ("x",)), (2,))
            count.value = count.value + 1
            return self.param("p", nn.with_partitioning(ones, ("x",)), (2,), unbox=False)

    param, variables = Count().init_with_output(KEY)
    assert is_box(param)
    assert variables["state"]["n"].names == ("x",)
    _, changed = Count().apply(variables, mutable=["state"])
    assert changed["state"]["n"].names == ("x",)
    np.testing.assert_array_equal(changed["state"]["n"].value, [2.0, 2.0])


@pytest.mark.parametrize(
    ("axis", "kernel", "bias"),
    [
        (0, ("new", "in", "out"), ("new", "out")),
        (1, ("in", "new", "out"), ("out", "new")),
        (-1, ("in", "out", "new"), ("out", "new")),
    ],
)
def test_vmap_and_scan_name_their_axis(axis, kernel, bias):
    class Kernels(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            k = self.param("kernel", nn.with_partitioning(ones, ("in", "out")), (3, 3))
            b = self.param("bias", nn.with_partitioning(ones, ("out",)), (3,))
            return (x @ k + b) / 4, None

    options = {
        "variable_axes": {"params": axis},
        "split_rngs": {"params": True},
        "metadata_params": NEW,
    }
    scanned = nn.scan(Kernels, length=4, **options)()
    mapped = nn.vmap(Kernels, in_axes=(None, None), axis_size=4, **options)()
    for module in (scanned, mapped):
        (y, _), variables = module.init_with_output(KEY, jnp.ones(3), None)
        assert names(variables["params"]) == {"kernel": kernel, "bias": bias}
        for box in (variables["params"]["kernel"], variables["params"]["bias"]):
            assert box.value.shape == tuple(4 if n == "new" else 3 for n in box.names)
        np.testing.assert_allclose(y, np.ones((4, 3) if module is mapped else 3), rtol=1e-6)
        again, _ = module.apply(variables, jnp.ones(3), None)
        np.testing.assert_array_equal(again, y)


def test_a_transform_that_names_no_axis_raises_an_error():
    stack = nn.scan(Affine, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
    with pytest.raises(PartitioningUnspecifiedError, match="metadata_params"):
        stack().init(KEY, jnp.ones(3), None)


def test_add_metadata_axis_names_an_axis_without_adding_one():
    stacked = nn.add_metadata_axis(Affine, {"params": 0}, NEW)
    params = stacked().init(KEY, jnp.ones(3))["params"]
    assert params["kernel"].names == ("new", "in", "out")
    assert params["kernel"].value.shape == (3, 3)


def test_trees_of_boxes():
    inner = nn.Partitioned(jnp.ones(2), ("x",))
    tree = {"a": nn.Partitioned(inner, ("y",)), "b": 2}
    np.testing.assert_array_equal(metadata.unbox(tree)["a"], np.ones(2))
    filled = metadata.replace_boxed(tree, {"a": 5, "b": 6})
    assert (filled["a"].names, filled["a"].value.names, filled["b"]) == (("y",), ("x",), 6)
    assert filled["a"].value.value == 5
    more = metadata.add_axis(tree, 0, NEW)
    assert more["a"].names == ("new", "y")
    assert metadata.remove_axis(more, 0, NEW)["a"].names == ("y",)
    assert metadata.add_axis(tree, None, {}) is tree


def test_a_boxed_initializer_is_legible_and_draws_as_before():
    init = jax.nn.initializers.normal()
    boxed = nn.with_partitioning(init, ("x",))
    np.testing.assert_array_equal(boxed(KEY, (3,)).value, init(KEY, (3,)))
    assert boxed.__name__ == init.__name__


def test_named_call_names_operations_of_methods_that_nothing_else_names():
    class Twice(nn.Module):
        @nn.nowrap
        @nn.named_call
        def double(self, x):
            return 2 * x

        @nn.compact
        def __call__(self, x):
            return self.double(x)

    lowered = jax.jit(lambda x: Twice().apply({}, x)).lower(1.0)
    assert "Twice/Twice.double/mul" in lowered.as_text(debug_info=True)


def test_a_named_sharding_gives_names_and_mesh():
    mesh = one_device()
    sharding = NamedSharding(mesh, PartitionSpec("data", "model"))
    init = nn.with_partitioning(ones, sharding)
    box = init(KEY, (2, 3))
    assert box.names == ("data", "model")
    assert box.mesh is mesh
    assert nn.get_partition_spec({"w": box})["w"] == sharding.spec
    assert box.add_axis(0, {nn.PARTITION_NAME: None}).names == (None, "data", "model")
    rules = (("embed", "data"),)
    with nn.logical_axis_rules(rules):
        laid_out = nn.with_logical_constraint(box.value, sharding)
    # Without a change of layout, jax before 0.7 keeps the form in which a sharding is written.
    assert laid_out.sharding.is_equivalent_to(sharding, 2)
    given = {"a": sharding, "b": PartitionSpec("embed")}
    layouts = nn.logical_to_mesh_sharding(given, mesh, rules)
    assert layouts == {
        "a": sharding,
        "b": NamedSharding(mesh, PartitionSpec("data")),
    }
    with pytest.raises(ArgumentTypeError, match="with_partitioning takes a NamedSharding"):
        nn.with_logical_partitioning(ones, sharding)(KEY, (2,))
