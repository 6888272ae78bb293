"""Every hint about the names of axes, rules and meshes, followed to the letter."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

import hints
from hints import Remedy
from linnet.module_core import linen as nn
from linnet.module_core.axis_rules import strict_axis_rules
from linnet.module_core.linen.sharding import partitioning

from .linen_programs import KEY, Inline, X, hints_of, in_setup, inside, ones

MESH = jax.make_mesh((1,), ("data",))
HALVES = AbstractMesh((2,), ("data",), axis_types=(AxisType.Explicit,))


def spec(*names):
    return PartitionSpec(*names)


def boxed(names, mesh=MESH, shape=(4,)):
    return inside(lambda m: m.param("w", nn.with_partitioning(ones, names, mesh=mesh), shape))


def laid_out(x, names, mesh=MESH, **options):
    return nn.with_logical_constraint(x, names, mesh=mesh, **options)


def axes_of(tree, names):
    return inside(
        lambda m: partitioning.variable_with_axes("cache", "n", lambda: tree, axes=names).value
    )


def with_names(names):
    return Inline(lambda m: partitioning.param_with_axes("w", ones, (3,), axes=names))


def named(variables, names, drop=()):
    given = {name: tree for name, tree in variables.items() if name not in drop}
    return with_names(names).apply(given, mutable="params_axes")


def axis_names(of):
    variables = with_names(("embed",)).init(KEY)
    return partitioning.get_axis_names(of(variables))


def boxed_layers(**options):
    init = nn.with_partitioning(ones, ("data",))
    layer = nn.vmap(
        lambda m, x: x * m.param("w", init, (3,)),
        variable_axes={"params": 0}, split_rngs={"params": True}, **options,
    )  # fmt: skip
    return inside(layer, X)


def from_nnx(metadata):
    return nn.Partitioned.from_nnx_metadata(metadata)


def strictly(rules):
    with strict_axis_rules(rules):
        return nn.logical_to_mesh_axes(("embed", "mlp"))


REMEDIES = [
    Remedy(
        "Use different names for axes that are laid out differently.",
        lambda: nn.logical_to_mesh_axes(("embed", "embed"), [("embed", "data")]),
        lambda: nn.logical_to_mesh_axes(("embed", "embed_out"), [("embed", "data")]),
    ),
    Remedy(
        'For an array with one axis, write ("embed",).',
        lambda: nn.logical_to_mesh_axes("embed", [("embed", "data")]),
        lambda: nn.logical_to_mesh_axes(("embed",), [("embed", "data")]),
    ),
    Remedy(
        "A rule pairs a logical name with a mesh axis, a tuple of mesh axes, or None:",
        lambda: nn.logical_to_mesh_axes(("batch",), "batch"),
        lambda: nn.logical_to_mesh_axes(("batch",), [("batch", "data"), ("embed", None)]),
    ),
    Remedy(
        "A rule pairs a logical name with a mesh axis, a tuple of mesh axes, or None:",
        lambda: nn.logical_to_mesh_axes(("batch",), ["batch"]),
        lambda: [
            nn.logical_to_mesh_axes(("batch",), [("batch", axes)])
            for axes in ("data", ("data", "model"), None)
        ],
    ),
    Remedy(
        "Add a rule, such as",
        lambda: laid_out(
            X,
            ("batch", "embed"),
            rules=[("batch", "data")],
            fallback=nn.RulesFallback.RAISE_ERROR,
        ),
        lambda: laid_out(
            X,
            ("batch", "embed"),
            rules=[("batch", "data"), ("embed", None)],
            fallback=nn.RulesFallback.RAISE_ERROR,
        ),
    ),
    Remedy(
        "Only with_partitioning takes a NamedSharding, which places the value on devices. Name "
        'the axes here: ("embed", "mlp").',
        lambda: nn.with_logical_partitioning(ones, NamedSharding(MESH, spec("data")))(KEY, (4,)),
        lambda: [
            nn.with_partitioning(ones, NamedSharding(MESH, spec("data")))(KEY, (4,)),
            nn.with_logical_partitioning(ones, ("embed", "mlp"))(KEY, (4, 4)),
        ],
    ),
    Remedy(
        "or leave the axis unsplit: None instead of",
        lambda: jax.eval_shape(
            lambda: laid_out(jnp.ones(3), ("x",), HALVES, rules=[("x", "data")])
        ),
        lambda: [
            jax.eval_shape(lambda: laid_out(jnp.ones(4), ("x",), HALVES, rules=[("x", "data")])),
            jax.eval_shape(lambda: laid_out(jnp.ones(3), (None,), HALVES, rules=[("x", "data")])),
        ],
    ),
    Remedy(
        'Make one: jax.make_mesh((4, 2), ("data", "model")).',
        lambda: nn.get_sharding(X, "data"),
        lambda: nn.get_sharding(X, jax.make_mesh((1, 1), ("data", "model"))),
    ),
    Remedy(
        "Partitioned takes axes of the mesh. Logical names, which rules translate to mesh axes, "
        "belong in LogicallyPartitioned.",
        lambda: boxed(("embed",)),
        lambda: [
            boxed(("data",)),
            inside(
                lambda m: m.param(
                    "w",
                    nn.with_logical_partitioning(
                        ones, ("embed",), mesh=MESH, rules=[("embed", "data")]
                    ),
                    (4,),
                )
            ),
        ],
    ),
    Remedy(
        "Pass one name, or None, for each axis of the array.",
        lambda: boxed(("data", None)),
        lambda: [boxed(("data",)), boxed((None,))],
    ),
    Remedy(
        "A variable without axis names needs no box.",
        lambda: from_nnx({"value": X}),
        lambda: from_nnx({"value": X, "out_sharding": ("data",)}),
    ),
    Remedy(
        "For an array with one axis, write ({},).",
        lambda: nn.Partitioned(X[0], "embed"),
        lambda: nn.Partitioned(X[0], ("embed",)),
    ),
    Remedy(
        "Name the axis that vmap or scan adds: metadata_params=",
        boxed_layers,
        lambda: [
            boxed_layers(metadata_params={nn.PARTITION_NAME: "layers"}),
            boxed_layers(metadata_params={nn.PARTITION_NAME: None}),
        ],
    ),
    Remedy(
        "Call it in a compact method or in setup, or pass module=self.",
        lambda: partitioning.param_with_axes("w", ones, (3,), axes=("x",)),
        lambda: [
            with_names(("x",)).init(KEY),
            in_setup(lambda m: partitioning.param_with_axes("w", ones, (3,), axes=("x",))),
            inside(lambda m: partitioning.param_with_axes("w", ones, (3,), axes=("x",), module=m)),
        ],
    ),
    Remedy(
        "axes holds a tuple of names, or None, where the value holds an array.",
        lambda: axes_of({"a": X, "b": X}, {"a": ("x", "y")}),
        lambda: axes_of({"a": X, "b": X}, {"a": ("x", "y"), "b": None}),
    ),
    Remedy(
        'Pass the collection of names: get_axis_names(variables["params_axes"]).',
        lambda: axis_names(lambda variables: variables),
        lambda: axis_names(lambda variables: variables["params_axes"]),
    ),
    Remedy(
        'create both again, or drop the collection "{}_axes".',
        lambda: named(with_names(("embed",)).init(KEY), ("mlp",)),
        lambda: [
            named(with_names(("mlp",)).init(KEY), ("mlp",)),
            named(with_names(("embed",)).init(KEY), ("mlp",), drop=["params_axes"]),
        ],
    ),
    Remedy(
        "Names of axes that are not split need a rule, too: ({}, None).",
        lambda: strictly([("mlp", "data")]),
        lambda: strictly([("mlp", "data"), ("embed", None)]),
        ("'embed'",),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("axes")
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
