"""`linnet.sharding` without devices: rules, byte reports and placing on one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen as nn
from linnet.module_core import nnx, sharding
from linnet.module_core.axis_rules import assign_mesh_axes, get_logical_axis_rules
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

P = PartitionSpec
MESH = AbstractMesh((4, 2), ("data", "model"))
W = jnp.ones((8, 4))
RULES = [(r"up/kernel$", P("data", "model")), ("kernel", P("model")), (..., P())]


class Linear(nnx.Module):
    def __init__(self, names=None):
        self.kernel = nnx.Param(W, out_sharding=names) if names else nnx.Param(W)
        self.bias = nnx.Param(jnp.ones(4))


class Model(nnx.Module):
    def __init__(self):
        self.up = Linear()
        self.blocks = nnx.List([Linear(), Linear()])
        self.weight = self.up.kernel
        self.mean = nnx.BatchStat(jnp.zeros(4))
        self.rngs = nnx.Rngs(0)


LINEN = {
    "params": {
        "up": {"kernel": nn.Partitioned(W, (None, None)), "bias": jnp.ones(4)},
        "blocks_0": {"kernel": W},
        "steps": 3,
    }
}


def spec_of(x):
    return x if isinstance(x, PartitionSpec) else x.raw_value


def test_specs_of_linen_variables():
    specs = sharding.partition_specs(LINEN, RULES)["params"]
    assert specs == {
        "up": {"kernel": P("data", "model"), "bias": P()},
        "blocks_0": {"kernel": P("model")},
        "steps": None,
    }


FORMS = {"module": lambda m: m, "state": nnx.state, "abstract": nnx.eval_shape}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_specs_of_nnx(form):
    tree = nnx.eval_shape(Model) if form is nnx.eval_shape else form(Model())
    specs = sharding.partition_specs(tree, RULES)
    assert type(specs) is type(tree)
    assert spec_of(specs.up.kernel) == P("data", "model")
    assert spec_of(specs.blocks[1].kernel) == P("model")
    assert spec_of(specs.mean) == P()
    if isinstance(specs, nnx.Module):
        assert specs.weight is specs.up.kernel


def test_specs_of_moments_are_those_of_parameters():
    model = Model()
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    specs = sharding.partition_specs(nnx.state(optimizer), RULES)
    found = {"/".join(map(str, path)): v.raw_value for path, v in nnx.to_flat_state(specs)}
    assert found["opt_state/0/mu/up/kernel"] == P("data", "model")
    assert found["opt_state/0/nu/blocks/0/kernel"] == P("model")
    assert found["opt_state/0/count"] == P()
    params = nn.unbox(LINEN["params"])
    moments = sharding.partition_specs(optax.adam(1e-3).init(params), RULES)
    assert moments[0].mu["up"]["kernel"] == P("data", "model")


def test_filters():
    rules = [
        (nnx.BatchStat, P("model")),
        (lambda path, leaf: path[-1] == "bias", P("model")),
        (re.compile("^BLOCKS", re.IGNORECASE), P("data")),
        (..., None),
    ]
    specs = sharding.partition_specs(Model(), rules)
    assert spec_of(specs.mean) == P("model")
    assert spec_of(specs.up.bias) == P("model")
    assert spec_of(specs.blocks[0].kernel) == P("data")
    assert spec_of(specs.up.kernel) == P()


def test_all_problems_are_named_at_once():
    tree = {"a": W, "b": W, "c": W, "d": jnp.ones(6), "s": jnp.ones(())}
    rules = [
        ("a", P("data", None, None)),
        ("b", P("dat")),
        ("d", P("data")),
        ("e", P()),
        ("f", P()),
    ]
    with pytest.raises(ArgumentError) as caught:
        sharding.named_shardings(tree, rules, MESH)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 6 + 1  # and the hint
    text = "\n".join(lines)
    for words in (
        "no rule matches c",
        "rule 3, 'e', matches no array",
        "rule 4, 'f', matches no array",
        "a, of shape (8, 4): ",
        "has 3 entries",
        "names 'dat'",
        "'data' splits axis 0 into 4 parts, which do not divide its size 6",
    ):
        assert words in text, words
    assert "no rule matches s" not in text
    fixed = [("[abc]", P("data")), ("d", P("model")), ("e", P())]
    with pytest.raises(ArgumentError, match="rule 2, 'e'"):
        sharding.named_shardings(tree, fixed, MESH)
    assert sharding.named_shardings(tree, fixed, MESH, all_used=False)["d"].spec == P("model")
    with pytest.raises(ArgumentError, match=r"no rule matches 19\n.*and 20 more"):
        sharding.partition_specs([W] * 40, [])


@pytest.mark.parametrize("rule", ["kernel", ("kernel",), ("kernel", "data"), ("kernel", 3)])
def test_what_is_not_a_rule(rule):
    with pytest.raises(ArgumentTypeError, match="Rule 0 is"):
        sharding.partition_specs({"kernel": W}, [rule])


def test_byte_report():
    shapes = nnx.eval_shape(Model)
    layouts = sharding.named_shardings(shapes, RULES, MESH)
    report = sharding.byte_report(shapes, layouts)
    rows = {row.path: row for row in report.rows}
    assert rows["up/kernel"].per_device == 8 * 4 * 4 // 8
    assert rows["blocks/0/kernel"].per_device == 8 * 4 * 4 // 2
    assert rows["mean"].layout == "replicated"
    assert rows["rngs/default/key"].total == 8  # two numbers of 32 bits
    assert report.total == 3 * 128 + 4 * 16 + 8 + 4
    assert report.per_device == 16 + 2 * 64 + 4 * 16 + 8 + 4
    assert len(rows) == len(report.rows) == 9  # tied parameters once
    # Layouts that arrays have themselves, boxes, and many arrays.
    box = nn.Partitioned(
        jax.ShapeDtypeStruct((8, 4), "bfloat16", sharding=NamedSharding(MESH, P("data"))), ("data",)
    )
    report = sharding.byte_report({f"w{i}": box for i in range(40)} | {"x": W, "n": 3})
    assert (report.total, report.per_device) == (40 * 64 + 128, 40 * 16 + 128)
    assert "11 more arrays" in str(report)
    with pytest.raises(ArgumentError, match="none for 'kernal'. Did you mean 'kernel'"):
        sharding.byte_report({"kernal": W}, {"kernel": NamedSharding(MESH, P())})
    with pytest.raises(ArgumentError, match="'w' cannot be laid out"):
        sharding.byte_report({"w": jnp.ones(3)}, {"w": NamedSharding(MESH, P("data"))})


def test_a_model_of_70_billion_parameters_on_256_devices():
    """Llama-3-like, stacked: bytes as computed by hand."""
    width, hidden, layers, keys, vocabulary = 8192, 28672, 80, 1024, 128256

    def weight(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.bfloat16)

    shapes = {
        "embedding": weight(vocabulary, width),
        "head": {"kernel": weight(width, vocabulary)},
        "norm": weight(width),
        "layers": {
            **{name: {"kernel": weight(layers, width, width)} for name in ("query", "out")},
            **{name: {"kernel": weight(layers, width, keys)} for name in ("key", "value")},
            **{name: {"kernel": weight(layers, width, hidden)} for name in ("gate", "up")},
            "down": {"kernel": weight(layers, hidden, width)},
            "norms": weight(layers, 2, width),
        },
    }
    rules = [
        ("embedding", P("model", "data")),
        ("head", P("data", "model")),
        ("(out|down)/kernel", P(None, "model", "data")),
        ("kernel", P(None, "data", "model")),
        ("norm", P()),
    ]
    mesh = AbstractMesh((16, 16), ("data", "model"))
    report = sharding.byte_report(shapes, sharding.named_shardings(shapes, rules, mesh))
    matrices = 2 * vocabulary * width + layers * width * (2 * width + 2 * keys + 3 * hidden)
    norms = (2 * layers + 1) * width
    assert report.total == 2 * (matrices + norms)
    assert report.per_device == 2 * (matrices // 256 + norms)
    assert 70e9 < matrices < 71e9


def test_place_on_one_device():
    layout = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), P("data"))
    read = {"a": np.ones((2, 2), np.float16), "n": 3, "key": jax.random.key(1), "free": np.ones(1)}
    like = {"a": layout, "more": layout, "key": NamedSharding(layout.mesh, P()), "free": np.ones(1)}
    placed = sharding.place(read, like)
    assert placed["a"].sharding == layout
    assert placed["a"].dtype == np.float16
    assert placed["key"] == jax.random.key(1)
    assert placed["n"] == 3
    assert isinstance(placed["free"], np.ndarray)
    boxed = sharding.place({"a": nn.Partitioned(np.ones(2), ("data",))}, like)
    assert boxed["a"].names == ("data",)
    assert boxed["a"].value.sharding == layout
    with pytest.raises(ArgumentError, match="no counterpart for 'b' and 1 more"):
        sharding.place({"b": np.ones(2), "c": np.ones(2)}, like)
    with pytest.raises(ShapeError, match=r"'a' has shape \(3,\), and its target \(2,\)"):
        sharding.place({"a": np.ones(3)}, {"a": jnp.ones(2)})


def test_place_makes_no_change():
    model = Model()
    twin = sharding.place(model, model)
    assert type(twin) is Model
    assert twin is not model
    assert twin.weight is twin.up.kernel
    np.testing.assert_array_equal(twin.up.kernel[...], model.up.kernel[...])


def test_copies_on_one_device_are_equal():
    sharding.check_replicated((Model(), LINEN, np.ones(3), jax.random.key(0)))


def test_strict_rules():
    rules = [("embed", None), ("mlp", "model")]
    param = nnx.Param(W, out_sharding=("embed", "mpl"))
    with sharding.strict_axis_rules(rules):
        assert assign_mesh_axes(("embed", None, "mlp"), get_logical_axis_rules()) == [
            None,
            None,
            "model",
        ]
        assert nn.logical_to_mesh_axes(("embed", "mlp")) == P(None, "model")
        for use in (
            lambda: nnx.Param(W, out_sharding=("embed", "mpl")),  # without a mesh, too
            lambda: nn.logical_to_mesh_axes(("mpl",)),
            lambda: nn.with_logical_constraint(W, ("embed", "mpl")),
            lambda: nnx.get_partition_spec(nnx.State({"w": param})),
        ):
            with pytest.raises(ArgumentError, match="'mpl'.*\n.*Did you mean 'mlp'"):
                use()
    with nn.logical_axis_rules(rules):
        assert nn.logical_to_mesh_axes(("mpl",)) == P(None)
        assert nnx.get_partition_spec(nnx.State({"w": param})).w.raw_value == P(None, "mpl")
