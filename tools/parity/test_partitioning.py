"""Axis metadata and partitioning against Flax: the same probes on both, the same answers."""

import inspect

import flax.core.meta
import flax.linen
import flax.linen.partitioning
import flax.linen.spmd
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import linnet.linen
from parity.test_signatures import differences

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
RULES = (
    ("batch", "data"),
    ("embed", None),
    ("mlp", "model"),
    ("heads", "model"),
    ("both", ("data", "model")),
    ("embed", "data"),
)
LAYERS = {"partition_name": "layers"}


def plain(value):
    """`value` without the classes that are specific to one library."""
    if hasattr(value, "names") and hasattr(value, "replace_boxed"):
        kind = type(value).__name__
        return (kind, plain(value.value), value.names, value.mesh, getattr(value, "rules", None))
    if type(value).__name__ == "AxisMetadata":
        return ("AxisMetadata", value.names)
    if hasattr(value, "items"):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, P):
        return [plain(v) for v in value]
    if isinstance(value, (jax.Array, np.ndarray)):
        return np.asarray(value).tolist()
    return value


def outcome(probe, nn):
    try:
        return plain(probe(nn))
    except Exception as error:
        # Flax's bare assertions and jax's errors have clearer counterparts.
        vague = isinstance(error, AssertionError) and nn is linnet.linen
        return "failed" if vague else "refused"


def mesh():
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))


def box(nn, names=("a", None), **fields):
    return nn.Partitioned(jnp.ones((2, 3)), names, **fields)


def logical(nn, names=("batch", "mlp"), **fields):
    return nn.LogicallyPartitioned(jnp.ones((2, 3)), names, **fields)


def with_rules(nn, fn, rules=RULES):
    with nn.logical_axis_rules(rules):
        return fn()


def constraints(nn, fn, *args, rules=RULES):
    """The layouts that a program asks for, on a mesh that is set."""
    with jax.set_mesh(mesh()), nn.logical_axis_rules(rules):
        program = jax.make_jaxpr(fn)(*args)
    equations = [e for e in program.jaxpr.eqns if e.primitive.name == "sharding_constraint"]
    return [e.params["sharding"].spec for e in equations]


PROBES = {
    "axes": lambda nn: nn.logical_to_mesh_axes(("batch", "embed", "mlp"), RULES),
    "axes, taken": lambda nn: nn.logical_to_mesh_axes(("mlp", "heads"), RULES),
    "axes, list": lambda nn: nn.logical_to_mesh_axes(["x", None, "both"], RULES),
    "axes, repeated": lambda nn: nn.logical_to_mesh_axes(("mlp", "mlp"), RULES),
    "axes, none": lambda nn: nn.logical_to_mesh_axes(None, RULES),
    "axes, no rules": lambda nn: nn.logical_to_mesh_axes(("batch",)),
    "axes, empty rules": lambda nn: nn.logical_to_mesh_axes(("batch",), ()),
    "axes, unconstrained": lambda nn: nn.logical_to_mesh_axes((P.UNCONSTRAINED, "mlp"), RULES),
    "axes, dict": lambda nn: nn.logical_to_mesh_axes(("a",), {"a": "data"}),
    "axes, string rules": lambda nn: nn.logical_to_mesh_axes(("a",), "ab"),
    "axes, bad rule": lambda nn: nn.logical_to_mesh_axes(("a",), [("a",)]),
    "axes, rules set": lambda nn: with_rules(nn, lambda: nn.logical_to_mesh_axes(("mlp",))),
    "mesh": lambda nn: nn.logical_to_mesh({"a": P("batch", "mlp"), "b": None, "c": P()}, RULES),
    "sharding": lambda nn: nn.logical_to_mesh_sharding(
        {"a": P("batch", "mlp"), "b": None, "c": P()}, mesh(), RULES
    ),
    "sharding, no axis": lambda nn: nn.logical_to_mesh_sharding(
        P("batch"), mesh(), [("batch", "q")]
    ),
    "rules": lambda nn: nn.get_logical_axis_rules(),
    "rules, set": lambda nn: with_rules(nn, nn.get_logical_axis_rules),
    "rules, nested": lambda nn: with_rules(
        nn, lambda: (with_rules(nn, nn.get_logical_axis_rules, ()), nn.get_logical_axis_rules())
    ),
    "box": box,
    "box, repr": lambda nn: repr(box(nn)).replace(" ", ""),
    "box, logical repr": lambda nn: repr(logical(nn)).replace(" ", ""),
    "box, replace": lambda nn: box(nn).replace_boxed(3),
    "box, keys": lambda nn: [
        str(path) for path, _ in jax.tree_util.tree_flatten_with_path(box(nn))[0]
    ],
    "box, map": lambda nn: jax.tree.map(lambda x: 2 * x, logical(nn)),
    "box, spec": lambda nn: (box(nn).get_partition_spec(), logical(nn).get_partition_spec()),
    "box, nnx": lambda nn: (
        box(nn).to_nnx_metadata(),
        logical(nn, rules=RULES).to_nnx_metadata(),
        nn.Partitioned.from_nnx_metadata({"value": 1, "out_sharding": ("a",), "mesh": None}),
    ),
    "box, nnx without": lambda nn: nn.Partitioned.from_nnx_metadata({"value": 1}),
    "axis, unnamed": lambda nn: box(nn).add_axis(0, {}),
    "axis, remove unnamed": lambda nn: box(nn).remove_axis(0, {}),
    "axis, wrong": lambda nn: box(nn).remove_axis(0, LAYERS),
    "axis, none": lambda nn: box(nn).add_axis(1, {nn.PARTITION_NAME: None}),
    "axis, remove": lambda nn: box(nn).remove_axis(1, {nn.PARTITION_NAME: None}),
    "specs": lambda nn: nn.get_partition_spec(
        {
            "a": box(nn),
            "b": [jnp.ones(2), np.ones(2), 3, None, 2.0, "text", KEY],
            "c": (logical(nn), {"d": jax.ShapeDtypeStruct((2,), "float32")}),
            "e": nn.Partitioned(box(nn), ("outer",)),
        }
    ),
    "shardings": lambda nn: nn.get_sharding(
        {"a": box(nn, ("data", None)), "b": [jnp.ones(2), 3, None]}, mesh()
    ),
    "shardings, logical": lambda nn: nn.get_sharding(logical(nn), mesh()),
    "meta": lambda nn: (
        nn.meta.unbox({"a": nn.Partitioned(box(nn), ("b",)), "c": 1}),
        nn.meta.replace_boxed({"a": box(nn), "b": 2}, {"a": 1, "b": 5}),
        nn.meta.add_axis({"a": box(nn), "b": 2}, 0, LAYERS),
        nn.meta.remove_axis(box(nn, ("layers", "a")), 0, LAYERS),
        nn.meta.map_axis_meta(lambda b: b.names, [box(nn), 1]),
        nn.meta.is_axis_metadata(box(nn)),
        nn.meta.global_mesh_defined(),
    ),
    "initializers": lambda nn: (
        nn.with_partitioning(nn.initializers.normal(), ("a", "b"))(KEY, (2, 3)),
        nn.with_logical_partitioning(nn.initializers.ones, ("a", "b"), rules=RULES)(KEY, (2, 3)),
    ),
    "no mesh": lambda nn: (
        with_rules(nn, lambda: nn.with_logical_constraint(X, ("batch", "mlp"))),
        box(nn).unbox(),
    ),
    "given mesh": lambda nn: logical(nn, mesh=mesh(), rules=RULES).unbox().sharding,
    "constraint": lambda nn: constraints(
        nn, lambda x: nn.with_logical_constraint(x, ("batch", "mlp")), X
    ),
    "constraint, other": lambda nn: constraints(
        nn, lambda x: nn.with_logical_constraint(x, P("unknown", "mlp")), X
    ),
    "constraint, none": lambda nn: constraints(
        nn, lambda x: nn.with_logical_constraint(x, None), X
    ),
    "constraint, no rules": lambda nn: constraints(
        nn, lambda x: nn.with_logical_constraint(x, ("batch", "mlp")), X, rules=()
    ),
    "constraint, tree": lambda nn: constraints(
        nn,
        lambda x: nn.with_logical_constraint([x, [x, x], x], [("mlp",), P("batch"), None]),
        X,
    ),
    "constraint, list": lambda nn: constraints(
        nn, lambda x: nn.with_logical_constraint(x, ["batch", "mlp"]), X
    ),
    "constraint, boxes": lambda nn: constraints(
        nn, lambda b: nn.unbox(b), [box(nn, ("data", None)), logical(nn), X]
    ),
    "constraint, absent axis": lambda nn: constraints(nn, nn.unbox, box(nn, ("q", None))),
    "constraint, long": lambda nn: constraints(nn, nn.unbox, box(nn, ("data", None, None))),
}
for fallback in ("AXIS_IS_UNSHARDED", "RAISE_ERROR", "NO_CONSTRAINT"):
    for names in (("unknown", "mlp"), ("embed", "mlp"), (None, "mlp"), ("heads", "mlp")):
        PROBES[f"fallback, {fallback} {names}"] = lambda nn, f=fallback, n=names: constraints(
            nn,
            lambda x: nn.with_logical_constraint(x, n, fallback=getattr(nn.spmd.RulesFallback, f)),
            X,
        )
for index in range(6):
    PROBES[f"axis, add {index}"] = lambda nn, i=index: box(nn).add_axis(i, LAYERS)


@pytest.mark.parametrize("name", PROBES)
def test_probe(name):
    ours, theirs = (outcome(PROBES[name], nn) for nn in (linnet.linen, flax.linen))
    assert ours == theirs


names = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=5)
mesh_axes = st.sampled_from(["x", "y", None, ("x", "y"), ("z", "x"), "z"])
rules = st.lists(st.tuples(st.sampled_from("abcd"), mesh_axes), max_size=8)


@given(names, rules)
def test_any_names_and_rules(names, rules):
    ours, theirs = (
        outcome(lambda nn: nn.logical_to_mesh_axes(tuple(names), rules), nn)
        for nn in (linnet.linen, flax.linen)
    )
    assert ours == theirs


def models(nn):
    """Models by name, each with the options of `init` and the inputs of a call."""
    boxed, older = nn.with_partitioning, nn.partitioning

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            kernel = boxed(nn.initializers.lecun_normal(), ("in", "out"))
            bias = nn.with_logical_partitioning(nn.initializers.normal(), ("out",))
            return nn.Dense(3, kernel_init=kernel, bias_init=bias)(x), None

    class General(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            kernel = boxed(nn.initializers.lecun_normal(), ("in", "heads", "out"))
            bias = boxed(nn.initializers.normal(), ("heads", "out"))
            x = nn.DenseGeneral((2, 4), kernel_init=kernel, bias_init=bias)(x)
            return nn.DenseGeneral(3, axis=(-2, -1), kernel_init=kernel)(x), None

    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            kernel = boxed(nn.initializers.lecun_normal(), ("in", "heads", "out"))
            return nn.MultiHeadDotProductAttention(3, kernel_init=kernel)(x), None

    class State(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            count = self.variable("state", "n", boxed(jnp.zeros, ("x",)), (3,))
            count.value = count.value + 1
            return x + count.value + self.param(
                "p", boxed(nn.initializers.normal(), ("x",)), (3,)
            ), None

    class Beside(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            kernel = older.param_with_axes(
                "kernel", nn.initializers.normal(), (3, 3), axes=("embed", "mlp")
            )
            bias = older.param_with_axes("bias", nn.initializers.normal(), (3,))
            n = older.variable_with_axes("state", "n", jnp.zeros, (3,), axes=("mlp",))
            if n.is_mutable():
                n.value = n.value + 1
            return x @ kernel + bias + n.value, None

    def inside(cls, **fields):
        class Outer(nn.Module):
            @nn.compact
            def __call__(self, x, _=None):
                return cls(**fields)(x, None)

        return Outer()

    stacked = {"split_rngs": {"params": True}, "metadata_params": LAYERS}
    both = {"params": 0, "state": 0}
    return {
        "dense": Block(),
        "dense_general": General(),
        "attention": Attention(),
        "state": State(),
        "scan": inside(nn.scan(Block, {"params": 0}, length=2, **stacked)),
        "scan_1": inside(nn.scan(Block, {"params": 1}, length=2, **stacked)),
        "scan_state": inside(nn.scan(State, both, length=2, **stacked)),
        "scan_unnamed": inside(nn.scan(Block, {"params": 0}, length=2)),
        "remat_scan": inside(nn.remat(nn.scan(General, {"params": 0}, length=2, **stacked))),
        "vmap": inside(nn.vmap(State, both, in_axes=(0, None), **stacked)),
        "vmap_1": inside(nn.vmap(Block, {"params": 1}, in_axes=(0, None), **stacked)),
        "metadata_axis": inside(nn.add_metadata_axis(Block, {"params": 0}, LAYERS)),
        "beside": Beside(),
        "beside_scan": inside(
            older.scan_with_axes(
                Beside,
                {"params": 1, "state": 0},
                split_rngs={"params": True},
                length=2,
                axes_collections=("params", "state"),
            )
        ),
        "beside_scan_default": inside(
            older.scan_with_axes(Beside, both, split_rngs={"params": True}, length=2)
        ),
        "beside_broadcast": inside(
            older.scan_with_axes(
                Beside, {"state": 0}, "params", split_rngs={"params": False}, length=2
            )
        ),
        "beside_vmap": inside(
            older.vmap_with_axes(
                Beside,
                {"params": 0, "state": 1},
                {"params": True},
                in_axes=(0, None),
                partitioning_axis_names={"params": "experts", "state": "experts"},
            )
        ),
        "beside_remat": inside(older.remat(Beside)),
    }


LINNET, FLAX = models(linnet.linen), models(flax.linen)


def sorted_tree(tree):
    return (
        dict(sorted((k, sorted_tree(v)) for k, v in tree.items()))
        if isinstance(tree, dict)
        else tree
    )


@pytest.mark.parametrize("name", LINNET)
def test_model(name):
    def variables(model):
        try:
            return model.init(KEY, X)
        except Exception as error:
            assert name == "scan_unnamed"
            return type(error).__name__

    ours, theirs = variables(LINNET[name]), variables(FLAX[name])
    assert plain(ours) == plain(theirs)
    if isinstance(ours, str):
        return
    results = []
    for nn, model, stored in ((linnet.linen, LINNET[name], ours), (flax.linen, FLAX[name], theirs)):
        (y, _), changed = model.apply(stored, X, mutable=["state"])
        results.append((y, plain(changed)))
        if "params_axes" in stored:
            results[-1] += (plain(nn.partitioning.get_axis_names(stored["params_axes"])),)
        shapes = jax.eval_shape(lambda model=model: model.init(KEY, X))
        results[-1] += (plain(nn.get_partition_spec(shapes)),)
    (our_y, *our_rest), (their_y, *their_rest) = results
    np.testing.assert_allclose(our_y, their_y, rtol=1e-6, atol=1e-6)
    assert our_rest == their_rest


def on_mesh(box):
    """The box with its names replaced by mesh axes; names without one become None."""
    if type(box).__name__ != "Partitioned":
        return box
    return box.replace(names=tuple({"in": "data", "out": "model"}.get(n) for n in box.names))


@pytest.mark.parametrize("name", ["dense", "beside"])
def test_models_ask_for_the_same_layouts(name):
    rules = (("embed", "data"), ("mlp", "model"), ("out", "model"))
    found = []
    for nn, model in ((linnet.linen, LINNET[name]), (flax.linen, FLAX[name])):
        variables = nn.meta.map_axis_meta(on_mesh, model.init(KEY, X))
        stored = {c: variables[c] for c in ("params", "state") if c in variables}
        found.append(
            constraints(
                nn, lambda v, m=model: m.apply(v, X, mutable=["state"]), stored, rules=rules
            )
        )
    assert found[0] == found[1]
    assert found[0]


PAIRS = {
    "meta": (linnet.linen.meta, flax.core.meta),
    "spmd": (linnet.linen.spmd, flax.linen.spmd),
    "partitioning": (linnet.linen.partitioning, flax.linen.partitioning),
}


@pytest.mark.parametrize("where", PAIRS)
def test_names_and_parameters(where):
    ours, theirs = PAIRS[where]
    public = {
        name: value
        for name, value in vars(theirs).items()
        if not name.startswith("_")
        and callable(value)
        and not inspect.ismodule(value)
        and str(getattr(value, "__module__", "")).startswith("flax")
        and name != "core_remat_static"  # in docs/differences.md
    }
    type_variables = {"A", "B", "TAxisMetadata"}
    assert public.keys() - type_variables <= set(ours.__all__)
    assert len(public) > 7
    for name in public.keys() - type_variables:
        if not isinstance(public[name], type) or name in ("Partitioned", "LogicallyPartitioned"):
            assert not differences(getattr(ours, name), public[name]), name
