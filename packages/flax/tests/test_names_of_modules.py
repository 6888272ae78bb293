"""Names that modules of the tree define themselves: sharding rules, lifting, small helpers."""

import pickle

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.layout import Format
from jax.sharding import NamedSharding, PartitionSpec

from linnet.flax import errors, traceback_util, typing
from linnet.flax.core import lift, spmd
from linnet.flax.linen import batch_apply, transforms
from linnet.flax.nnx import graphlib, helpers, variablelib
from linnet.flax.nnx.transforms import compilation
from linnet.linen import Dense, Module, compact
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, LinnetError, TransformTargetError

P = PartitionSpec
RULES = (("a", "x"), ("b", None), ("c", ("x", "y")))


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))


def test_rules_apply_to_any_form_of_sharding(mesh):
    named = NamedSharding(mesh, P("x"))
    assert spmd.apply_rules(P("a", None, ("a", "c"), "q", "c"), RULES) == P(
        "x", None, ("a", "c"), "q", ("x", "y")
    )
    assert spmd.apply_rules(("a", "b"), RULES) == P("x", None)
    assert spmd.apply_rules(None, RULES) is None
    assert spmd.get_pspec(named, (("q", "x"),)) == named
    assert spmd.get_pspec(Format(None, named)).sharding == named
    assert spmd.map_sharding(lambda axis: "x", (None, "a")) == P("x", "x")
    assert spmd.from_sharding_rules(("a", ("b", "c"), None), RULES) == ("x", ("b", "c"), None)
    assert spmd.get_mesh(named) is spmd.get_mesh(Format(None, named)) is mesh
    assert spmd.get_mesh(P("a")) is None
    with spmd.logical_axis_rules([("q", "x")]):
        assert spmd.get_pspec(("q", "a"), RULES) == P("x", "x")
    assert spmd.composite_rules(None, None) == ()
    with pytest.raises(ArgumentError, match="Two rules for the axis 'a': one says 'x', the other"):
        spmd.composite_rules(RULES, [("a", "y")])


def test_values_are_laid_out(mesh):
    x = jnp.ones((2, 3))
    for sharding, rules, given in (
        (P("x"), None, mesh),
        (("a", None), RULES, mesh),
        (NamedSharding(mesh, P("x")), None, None),
    ):
        laid_out = spmd.shard_value({"x": x}, sharding, rules, given)["x"]
        assert laid_out.sharding.is_equivalent_to(NamedSharding(mesh, P("x")), 2)
    assert spmd.shard_value(x, None, None, mesh) is x
    inside = jax.jit(lambda x: spmd.shard_value(x, P("x"), None, mesh))(x)
    assert inside.sharding.is_equivalent_to(NamedSharding(mesh, P("x")), 2)
    with pytest.raises(ArgumentError, match="without a mesh"):
        spmd.shard_value(x, P("x"), None, None)
    with pytest.raises(ArgumentError, match="needs a mesh with the axes 'q'; this one has"):
        spmd.shard_value(x, P("q"), None, mesh)


def test_errors_that_programs_catch():
    for error in (
        errors.ImmutableVariableError("it is fixed"),
        errors.MPACheckpointingRequiredError("folder", 3),
        errors.MPARestoreTargetRequiredError("folder", 3, "key"),
        errors.MPARestoreDataCorruptedError(3, "folder"),
    ):
        assert isinstance(error, LinnetError)
        assert "3" in str(error) or "fixed" in str(error)


def test_transforms_of_scopes_become_transforms_of_modules():
    x, key = jnp.ones((4, 2)), jax.random.key(0)

    def scaled(fn, by):
        return lift.vmap(
            lambda scope, x: fn(scope, by * x),
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )

    Scaled = transforms.lift_transform(scaled, Dense, 2.0)
    assert Scaled.__name__ == "ScaledDense"
    y, variables = Scaled(3).init_with_output(key, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.shape == (4, 2, 3)
    assert jnp.allclose(y, jnp.einsum("bi,bio->bo", 2 * x, kernel) + bias)

    class Direct(Module):
        @compact
        def __call__(self, x):
            inner = transforms.lift_transform(lift.remat, lambda m, x: Dense(3, name="d")(x))
            y, pull = transforms.lift_direct_transform(
                lift.vjp, (lambda m, x: inner(m, x),), self, x
            )
            return y, pull(y)[1]

    variables = Direct().init(key, x)
    assert variables["params"]["d"]["kernel"].shape == (2, 3)
    y, pulled = Direct().apply(variables, x)
    assert pulled.shape == x.shape
    with pytest.raises(TransformTargetError):
        transforms.lift_transform(lift.remat, Dense(3))


def test_leading_dimensions():
    x = jnp.ones((2, 3, 4))
    assert batch_apply.merge_leading_dims(x, 2).shape == (6, 4)
    assert batch_apply.merge_leading_dims(3, 2) == 3
    assert batch_apply.split_leading_dim(jnp.ones((6, 4)), (2, 3)).shape == x.shape
    assert batch_apply.arbitrary_mergeable_leaf(2, (1, x), {"k": x}) is x
    assert batch_apply.arbitrary_mergeable_leaf(2, (1,), {}) is None


def test_kinds_of_nodes():
    param, module = nnx.Param(jnp.ones(1)), nnx.Rngs(0)
    table = {
        graphlib.is_graph_node: [param, module],
        graphlib.is_node: [module, [1], {}, (1, 2), nnx.State({})],
        graphlib.is_node_leaf: [param, jnp.ones(1)],
        graphlib.is_pytree_node: [[1], {}, (1, 2), nnx.State({})],
        graphlib.is_array_ref: [],
    }
    values = [param, module, [1], {}, (1, 2), nnx.State({}), jnp.ones(1), 3, "a"]
    for is_one, ones in table.items():
        assert [x for x in values if is_one(x) is True] == ones or is_one is graphlib.is_node_leaf
        assert sum(map(is_one, values)) == len(ones), is_one
    with nnx.update_context("tag") as context:
        assert graphlib.current_update_context("tag") is context
    with pytest.raises(ArgumentError, match="No update context is open for the tag 'tag'"):
        graphlib.current_update_context("tag")


def test_programs_ask_whether_a_function_is_jitted():
    jitted = nnx.jit(lambda x: x)
    for graph in (True, False):
        assert isinstance(nnx.jit(lambda x: x, graph=graph), compilation.JitWrapped)
    assert not isinstance(jax.jit(lambda x: x), compilation.JitWrapped)
    assert isinstance(nnx.jit_partial(lambda x: x), compilation.SimpleJitPartialWrapped)
    assert isinstance(jitted.trace(1.0), compilation.Traced)
    assert isinstance(jitted.lower(1.0), compilation.SimpleLowered)
    assert isinstance(jitted.lower(1.0).compile(), compilation.Compiled)


def test_small_classes():
    mapping = typing.HashableMapping({"a": 1})
    assert {mapping: 2}[typing.HashableMapping([("a", 1)])] == 2
    assert (len(mapping), list(mapping), repr(mapping)) == (1, ["a"], "{'a': 1}")
    assert jax.tree.leaves(typing.PytreeDeque([1, 2])) == [1, 2]
    assert typing.has_shape_dtype(jnp.ones(1))
    assert not typing.has_shape_dtype(3)
    assert typing.is_key_like("a")
    assert not typing.is_key_like([])
    assert helpers.has_keyword_arg(lambda a, *, b: 0, "b")
    assert not helpers.has_keyword_arg(lambda a, **b: 0, "b")
    assert isinstance(variablelib.VariableMeta("V", (), {}), type)


def test_frames_of_other_files_are_left_out(tmp_path):
    file = tmp_path / "between.py"
    code = compile("def between(f):\n    return f()", str(file), "exec")
    names = {}
    exec(code, names)

    @traceback_util.api_boundary
    def outer():
        names["between"](lambda: 1 / 0)

    def files():
        with pytest.raises(ZeroDivisionError) as raised:
            outer()
        return [str(entry.path) for entry in raised.traceback]

    assert str(file) in files()
    traceback_util.register_exclusion(str(file))
    assert str(file) not in files()


def test_what_lets_pickles_of_flax_load_is_found_by_name():
    written = b"cflax.nnx.graphlib\nNodeAttr\n.".replace(b"flax.nnx", b"linnet.flax.nnx")
    assert pickle.loads(written) is graphlib.NodeAttr
