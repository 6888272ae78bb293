"""Tables of models: which calls have rows, and what belongs to each."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.module_core import linen as nn
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, InvalidRngError
from linnet.module_core.linen import metadata
from linnet.module_core.linen.recording import Costs
from linnet.module_core.linen.summary import Row, Table, table
from linnet.module_core.tables.cells import bytes_text, represent_inputs
from linnet.struct import PyTreeNode, field

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
INIT = jax.nn.initializers


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Sets the terminal's width to that of tables printed without a terminal."""
    monkeypatch.setenv("COLUMNS", "120")


class Dense(nn.Module):
    features: int = 4

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", INIT.normal(), (x.shape[-1], self.features))
        bias = self.param("bias", INIT.zeros, (self.features,))
        return x @ kernel + bias


class Norm(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        if train and not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
        return x - mean.value


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return Norm()(Dense(5)(x), train=train)


class Net(nn.Module):
    """A module with a parameter of its own and nested modules, one of them called three times."""

    def setup(self):
        self.block = Block()
        self.head = Dense(5)
        self.scale = self.param("scale", INIT.ones, (5,))

    def __call__(self, x, train=False):
        x = self.head(self.head(self.block(x, train)))
        self.sow("intermediates", "hidden", x)
        return {"y": self.again(x) * self.scale, "train": train}

    def again(self, x):
        return self.head(x)


def rows(module, *args, depth=None, repeated=False, flops=False, vjp=False, **kwargs):
    costs = Costs(flops, vjp, depth, repeated)
    mutable = kwargs.pop("mutable", nn.DenyList("intermediates"))
    return table(module, KEY, args, kwargs, mutable=mutable, costs=costs)


def paths(rows):
    return ["/".join(row.path) for row in rows]


def shape(*dims, dtype="float32"):
    return jax.ShapeDtypeStruct(dims, jnp.dtype(dtype))


# Rows.


def test_a_row_for_each_module_in_the_order_of_calls():
    found = rows(Net(), X, train=True)
    assert isinstance(found, Table)
    assert found.collections == ["batch_stats", "params"]
    assert paths(found) == ["", "block", "block/Dense_0", "block/Norm_0", "head"]
    assert [type(row.module_copy).__name__ for row in found] == [
        "Net",
        "Block",
        "Dense",
        "Norm",
        "Dense",
    ]
    net, block, dense, norm, head = found
    assert represent_inputs((X,), {"train": True}) == net.inputs
    assert net.outputs["y"] == shape(2, 5)
    assert str(net.outputs["train"]) == "True"
    assert block.outputs == shape(2, 5)
    assert dense.inputs == shape(2, 3)
    assert net.module_variables == {"params": {"scale": shape(5)}, "batch_stats": {}}
    assert block.module_variables == {"params": {}, "batch_stats": {}}
    assert dense.module_variables["params"] == {"kernel": shape(3, 5), "bias": shape(5)}
    assert norm.module_variables["batch_stats"] == {"mean": shape(5)}
    assert head.inputs == shape(2, 5)
    assert all(row.counted_variables == row.module_variables for row in found)
    assert all(row.method == "__call__" for row in found)
    assert [row.flops for row in found] == [-1] * 5


def test_copies_of_modules_are_not_bound():
    for row in rows(Net(), X):
        assert row.module_copy.scope is None
        assert row.module_copy.parent is None
    assert rows(Net(), X)[2].module_copy.features == 5


def test_every_call_has_a_row_if_repeated_ones_are_shown():
    found = rows(Net(), X, repeated=True)
    expected = [
        ("", "__call__"),
        ("block", "__call__"),
        ("block/Dense_0", "__call__"),
        ("block/Norm_0", "__call__"),
        ("head", "__call__"),
        ("head", "__call__"),
        ("", "again"),
        ("head", "__call__"),
    ]
    assert list(zip(paths(found), [row.method for row in found], strict=True)) == expected
    assert sum(row.size_and_bytes(["params"])["params"][0] for row in found) == 20 + 30 + 5
    assert all(row.counted_variables == {} for row in found[5:])
    assert "Net (again)" in Net().tabulate(KEY, X, show_repeated=True)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, {"": (55, 5)}),
        (1, {"": (5, 0), "block": (20, 5), "head": (30, 0)}),
        (
            2,
            {
                "": (5, 0),
                "block": (0, 0),
                "block/Dense_0": (20, 0),
                "block/Norm_0": (0, 5),
                "head": (30, 0),
            },
        ),
    ],
)
def test_what_is_deeper_is_counted_by_the_row_above(depth, expected):
    found = rows(Net(), X, depth=depth)
    sizes = [row.size_and_bytes(["params", "batch_stats"]) for row in found]
    counted = {
        p: (s["params"][0], s["batch_stats"][0]) for p, s in zip(paths(found), sizes, strict=True)
    }
    assert counted == expected
    assert found[0].module_variables["params"] == {"scale": shape(5)}
    text = Net().tabulate(KEY, X, depth=depth)
    assert "Total Parameters: 60 (240 B)" in text


def test_collections_are_those_that_init_may_make():
    assert rows(Net(), X, mutable=True).collections == ["batch_stats", "intermediates", "params"]
    (net, *_) = rows(Net(), X, mutable=True)
    assert net.module_variables["intermediates"] == {"hidden": (shape(2, 5),)}
    assert rows(Dense(), X, mutable="params").collections == ["params"]


def test_results_are_captured_as_in_init():
    assert "__call__:" in Net().tabulate(KEY, X, capture_intermediates=True)


class Shared(nn.Module):
    table: nn.Module

    @nn.compact
    def __call__(self, x):
        return Decoder(self.table)(self.table(x))


class Decoder(nn.Module):
    table: nn.Module

    @nn.compact
    def __call__(self, x):
        return self.table.other(Dense(3)(x))


class Linear(nn.Module):
    def setup(self):
        self.w = self.param("w", INIT.ones, (3, 3))

    def __call__(self, x):
        return x @ self.w

    def other(self, x):
        return x @ self.w.T


def test_a_shared_module_has_one_row_where_it_belongs():
    found = rows(Shared(Linear()), X, flops=True)
    assert paths(found) == ["", "table", "Decoder_0", "Decoder_0/Dense_0"]
    assert sum(row.size_and_bytes(["params"])["params"][0] for row in found) == 9 + 12
    matmul, bias = 2 * 2 * 3 * 3, 2 * 3
    assert [row.flops for row in found] == [
        3 * matmul + bias,
        matmul,
        2 * matmul + bias,
        matmul + bias,
    ]


@pytest.mark.parametrize("flops", [False, True])
def test_methods_functions_and_unusual_calls(flops):
    class Parts(nn.Module):
        def setup(self):
            self.layers = [Dense(4), Dense(3)]
            self.own = self.param("own", INIT.ones, (7,))

        def first(self, x):
            return self.layers[0](x)

        @nn.nowrap
        def helper(self, x):
            return self.layers[1](x)

    parts = Parts()
    assert [(r.path, r.method) for r in rows(parts, X, method="first", flops=flops)] == [
        ((), "first"),
        (("layers_0",), "__call__"),
    ]
    # A function is not a method, but the model still has its row, with its variables.
    for method, name in [(Parts.helper, "helper"), (lambda m, x: m.layers[1](x), "<lambda>")]:
        found = rows(parts, X, method=method, flops=flops)
        assert [(r.path, r.method) for r in found] == [((), name), (("layers_1",), "__call__")]
        assert found[0].module_variables["params"] == {"own": shape(7)}
        assert found[0].flops == found[1].flops == (2 * 2 * 3 * 3 + 2 * 3 if flops else -1)


def test_submodules_of_a_name_scope_are_under_it():
    class Scoped(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return Dense(3)(x)

        @nn.compact
        def __call__(self, x):
            return self.up(Dense(4)(x))

    found = rows(Scoped(), X, flops=True)
    assert paths(found) == ["", "Dense_0", "up", "up/Dense_0"]
    assert found[2].flops == found[3].flops == 2 * 2 * 4 * 3 + 2 * 3


def test_methods_that_go_on_a_compact_method():
    class Halves(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.second(Dense(4)(x))

        def second(self, x):
            return Dense(2)(x)

    found = rows(Halves(), X, repeated=True, flops=True)
    assert [(p, r.method) for p, r in zip(paths(found), found, strict=True)] == [
        ("", "__call__"),
        ("Dense_0", "__call__"),
        ("", "second"),
        ("Dense_1", "__call__"),
    ]
    assert found[2].flops == found[3].flops == 2 * 2 * 4 * 2 + 2 * 2


def test_an_inherited_call_is_part_of_the_call():
    class Scaled(Dense):
        @nn.compact
        def __call__(self, x):
            return 2 * super().__call__(x)

    found = rows(Scaled(), X, repeated=True, flops=True)
    assert paths(found) == [""]
    assert found[0].flops == 2 * 2 * 3 * 4 + 2 * 4 + 2 * 4


def test_models_within_models_have_no_rows():
    class Teacher(nn.Module):
        @nn.compact
        def __call__(self, x):
            variables = {"params": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}}
            return Dense(parent=None).apply(variables, x) + Dense()(x)

    assert paths(rows(Teacher(), X, repeated=True)) == ["", "Dense_0"]


def test_a_call_that_fails_and_is_caught_has_no_row():
    class Failing(nn.Module):
        @nn.compact
        def __call__(self, x):
            Dense()(x)
            raise KeyError

    class Careful(nn.Module):
        @nn.compact
        def __call__(self, x):
            try:
                return Failing(name="a")(x)
            except KeyError:
                return Dense(name="b")(x)

    found = rows(Careful(), X)
    assert paths(found) == ["", "b"]
    assert sum(row.size_and_bytes(["params"])["params"][0] for row in found) == 32


def test_within_a_transform_shapes_are_those_of_the_body():
    class Mapped(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = Dense()
            dense(x[0])
            return jax.vmap(dense)(x)

    found = rows(Mapped(), X, repeated=True, flops=True)
    assert paths(found) == ["", "Dense_0", "Dense_0"]
    assert [row.inputs for row in found] == [shape(2, 3), shape(3), shape(3)]


class Cell(nn.Module):
    @nn.compact
    def __call__(self, carry, _):
        return Dense(3)(carry), None


class Lifted(nn.Module):
    @nn.compact
    def __call__(self, x):
        stacked = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        x, _ = nn.scan(Cell, length=5, **stacked)()(x, None)
        x = nn.remat(Dense)(3)(x)
        return nn.vmap(Dense, **stacked)(3)(x)


def test_lifted_modules_show_the_variables_that_are_stored():
    found = rows(Lifted(), X, flops=True)
    assert paths(found) == [
        "",
        "ScanCell_0",
        "ScanCell_0/Dense_0",
        "CheckpointDense_0",
        "VmapDense_0",
    ]
    dense = 2 * 2 * 3 * 3 + 2 * 3
    assert found[2].module_variables["params"] == {"kernel": shape(5, 3, 3), "bias": shape(5, 3)}
    assert found[2].flops == found[3].flops == found[4].flops == dense
    sizes = [row.size_and_bytes(["params"])["params"][0] for row in found]
    assert sizes == [0, 0, 5 * 12, 12, 2 * 12]


def test_bound_modules_and_interceptors():
    bound = Net().bind(jax.eval_shape(Net().init, KEY, X))
    assert paths(rows(bound, X)) == paths(rows(Net(), X))
    assert paths(rows(bound.block, X, True)) == ["", "Dense_0", "Norm_0"]
    seen = []

    def note(next_fun, args, kwargs, context):
        seen.append(context.method_name)
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        rows(Dense(), X)
    assert seen == ["__call__"]


# Nothing is computed.


def test_init_runs_once_and_abstractly():
    calls = []

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            calls.append(isinstance(x, jax.core.Tracer))
            return self.param("w", lambda key: jnp.ones((1 << 20, 1 << 20)))[0, 0] * x

    text = Counted().tabulate(KEY, jax.ShapeDtypeStruct((1 << 30, 1 << 20), jnp.bfloat16))
    assert calls == [True]
    assert f"{1 << 40:,} (4.4 TB)" in text


def test_nothing_of_the_trace_is_kept():
    found = rows(Net(), X, train=True)
    leaves = jax.tree.leaves([(r.inputs, r.outputs, r.module_variables) for r in found])
    assert {type(leaf).__name__ for leaf in leaves} == {"ShapeDtypeStruct", "Text"}


# Amounts.


def test_elements_and_bytes_of_many_kinds_of_variables():
    class Many(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param(
                "tree", lambda key: {"a": jnp.ones(3, jnp.int8), "b": [jnp.ones((2, 2), bool)]}
            )
            self.param("half", INIT.ones, (5, 7), jnp.bfloat16)
            self.param("wave", INIT.ones, (2,), jnp.complex64)
            self.variable("random", "key", lambda: jax.random.key(0))
            self.variable("other", "number", lambda: 3.5)
            self.variable("other", "word", lambda: "w")
            self.variable("other", "scalar", lambda: jnp.int32(1))
            return x

    (row,) = rows(Many(), X, flops=True)
    sizes = row.size_and_bytes(["params", "random", "other", "absent"])
    assert sizes == {
        "params": (3 + 4 + 35 + 2, 3 + 4 + 70 + 16),
        "random": (1, 8),
        "other": (1, 4),
        "absent": (0, 0),
    }
    assert row.flops == 0
    text = Many().tabulate(KEY, X)
    assert "half: bfloat16[5,7]" in text
    assert "44 (93 B)" in text
    assert "word: w" in text
    assert "key: key<fry>[]" in text


@given(st.integers(0, 10**16))
def test_bytes_have_four_digits_at_most(n):
    text = bytes_text(n)
    number, unit = text.split()
    factor = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(number.replace(",", "")) * factor - n) <= (
        0 if unit == "B" else 0.0501 * factor
    )
    assert unit == "TB" or float(number) < 1000


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (1200, "1.2 KB"), (999_960, "1.0 MB")],
)
def test_bytes(n, text):
    assert bytes_text(n) == text


@dataclasses.dataclass
class Box(metadata.AxisMetadata):
    """A box like those of partitioning."""

    value: object
    names: tuple

    def unbox(self):
        return self.value

    def replace_boxed(self, value):
        return Box(value, self.names)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


jax.tree_util.register_dataclass(Box, ["value"], ["names"])


def test_boxed_variables_show_their_names():
    class Boxed(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = lambda key: Box(jnp.ones((3, 4)), ("in", None))  # noqa: E731
            return x @ self.param("w", init)

    text = Boxed().tabulate(KEY, X, compute_flops=True)
    assert "w: float32[3,4] P(in, None)" in text
    assert "12 (48 B)" in text


# The interface.


def test_tabulate_takes_arguments_early_or_late():
    early = nn.tabulate(Net(), KEY, train=True)(X)
    assert early == nn.tabulate(Net(), KEY)(X, train=True) == Net().tabulate(KEY, X, train=True)
    keys = {"params": KEY, "dropout": KEY}
    assert Net().tabulate(keys, X, train=True) == early


@pytest.mark.parametrize(
    ("depth", "error", "words"),
    [
        (-1, ArgumentError, "depth must be at least 0, got -1"),
        (1.5, ArgumentTypeError, "depth must be an integer or None, got 1.5 of type float"),
        ("1", ArgumentTypeError, "got '1' of type str"),
    ],
)
def test_depth_is_a_number_of_levels(depth, error, words):
    with pytest.raises(error, match=words):
        nn.tabulate(Dense(), KEY, depth)


def test_errors_of_the_model_are_its_own():
    with pytest.raises(InvalidRngError, match="needs a random key"):
        Dense().tabulate(0, X)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Dense().tabulate(KEY)


def test_module_paths():
    found = Net().module_paths(KEY, X, train=True)
    assert list(found) == ["", "block", "block/Dense_0", "block/Norm_0", "head"]
    assert found["block/Dense_0"] == Dense(5)
    assert found["block/Dense_0"].scope is None
    assert list(Net().module_paths(KEY, X, show_repeated=True)) == list(found)
    head = jax.eval_shape(found["head"].init, KEY, shape(2, 5))["params"]
    assert head == jax.eval_shape(Net().init, KEY, X)["params"]["head"]


def test_a_table_of_one_s_own():
    row = Row((), Dense(), "__call__", [], [], {}, {"params": {"w": shape(3, 4)}}, -1, -1)
    made = Table(Dense(), ["params"], [row])
    assert made == [row]
    assert made[0].size_and_bytes(made.collections) == {"params": (12, 4 * math.prod((3, 4)))}


class Labels(PyTreeNode):
    labels: tuple[str, ...] = field(pytree_node=False)


def test_values_without_arrays_are_shown():
    class Noting(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("notes", "seen", Labels(("left", "right")))
            self.sow("nothing", "seen", 1, reduce_fn=lambda old, new: ())
            return Dense()(x)

    text = Noting().tabulate(KEY, X)
    for word in ("notes", "seen:", "labels:", "- left", "- right"):
        assert word in text
    assert "nothing" not in text
