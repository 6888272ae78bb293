"""linen_to_nnx and nnx_to_linen: every value finds its place, or an error names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import placed
from linnet.module_core import linen, nnx
from linnet.module_core.bridge import ConversionError, linen_to_nnx, nnx_to_linen
from linnet.module_core.errors import ArgumentError

X = placed(np.random.default_rng(0).normal(size=(2, 3)), jnp.float32)
NORMAL = jax.nn.initializers.normal(1.0)


class Dense(linen.Module):
    features: int

    @linen.compact
    def __call__(self, x):
        return x @ self.param("kernel", NORMAL, (x.shape[-1], self.features))


class Linear(nnx.Module):
    def __init__(self, n_in, n_out, rngs):
        self.kernel = nnx.Param(NORMAL(rngs.params(), (n_in, n_out)))

    def __call__(self, x):
        return x @ self.kernel


class LinenModel(linen.Module):
    def setup(self):
        self.layers = [Dense(3), Dense(3)]
        self.heads = {"a": Dense(2), "b": Dense(2)}
        self.tail = LinenTail()

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.tail(self.heads["a"](x) - self.heads["b"](x))


class LinenTail(linen.Module):
    @linen.compact
    def __call__(self, x):
        scale = self.param("if", linen.with_partitioning(NORMAL, ("x",)), (2,))
        mean = self.variable("batch_stats", "mean", jnp.ones, (2,))
        x = Dense(4)(x * scale - mean.value)
        x = jnp.tanh(Dense(4)(x))
        return Dense(1)(x)


class Tail(nnx.Module):
    def __init__(self, rngs):
        self.if_ = nnx.Param(jnp.zeros(2))
        self.mean = nnx.BatchStat(jnp.zeros(2))
        self.project = Linear(2, 4, rngs)
        self.mlp = [Linear(4, 4, rngs)]
        self.dropout = rngs.fork()
        self.a_last = Linear(4, 1, rngs)

    def __call__(self, x):
        x = self.project(x * self.if_ - self.mean)
        return self.a_last(jnp.tanh(self.mlp[0](x)))


class Model(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([Linear(3, 3, rngs) for _ in "ab"])
        self.heads = {"a": Linear(3, 2, rngs), "b": Linear(3, 2, rngs)}
        self.tail = Tail(rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.tail(self.heads["a"](x) - self.heads["b"](x))


VARIABLES = LinenModel().init(jax.random.key(1), X)


def test_there_and_back_without_loss():
    model = Model(nnx.Rngs(0))
    kernel = model.layers[1].kernel
    assert linen_to_nnx(VARIABLES, model) is model
    assert model.layers[1].kernel is kernel
    np.testing.assert_allclose(model(X), LinenModel().apply(VARIABLES, X), rtol=1e-6)
    shapes = jax.eval_shape(LinenModel().init, jax.random.key(0), X)
    back = nnx_to_linen(model, shapes)
    assert jax.tree.structure(back) == jax.tree.structure(VARIABLES)
    jax.tree.map(np.testing.assert_array_equal, back, VARIABLES)
    assert back["params"]["tail"]["if"].names == ("x",)


def test_everything_without_a_counterpart_is_listed_at_once():
    model = Model(nnx.Rngs(0))
    model.extra = nnx.Param(jnp.ones(1))
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    params = {**VARIABLES["params"], "more": {"Dense_0": {"kernel": X}}, "w": X}
    with pytest.raises(ConversionError) as caught:
        linen_to_nnx({"params": params, "cache": {"c": X}}, model)
    for part in (
        "params/w, cache/c, params/more/Dense_0/kernel",
        "without a value in the linen variables: extra, tail/mean",
        "names={'Dense_0'",
    ):
        assert part in str(caught.value)
    jax.tree.map(
        np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(model, nnx.Param)), before
    )


def test_parts_are_converted_with_only():
    model = Model(nnx.Rngs(0))
    linen_to_nnx({"params": VARIABLES["params"]}, model, only=nnx.Param)
    assert not np.any(model.tail.mean.value)
    back = nnx_to_linen(model, {"params": VARIABLES["params"]}, only=nnx.Param)
    jax.tree.map(np.testing.assert_array_equal, back["params"], VARIABLES["params"])


def test_wrong_shapes_are_listed_at_once():
    model = Model(nnx.Rngs(0))
    model.layers[0] = Linear(3, 5, nnx.Rngs(0))
    model.tail.mean.value = jnp.zeros(7)
    with pytest.raises(
        ConversionError, match=r"layers_0/kernel has shape \(3, 3\), but lay.*\(3, 5\);"
    ):
        linen_to_nnx(VARIABLES, model)
    with pytest.raises(ArgumentError, match=r"tail/mean gives shape \(7,\)"):
        nnx_to_linen(model, VARIABLES)


def test_names_say_what_cannot_be_guessed():
    class Twin(nnx.Module):
        def __init__(self):
            self.second = Linear(3, 3, nnx.Rngs(0))
            self.inner = nnx.Dict(first=Linear(3, 3, nnx.Rngs(1)))
            self.bias = nnx.Param(jnp.zeros(3))

    variables = {
        "params": {
            "Dense_0": {"kernel": X[:1].repeat(3, 0)},
            "Dense_1": {"kernel": X[1:].repeat(3, 0)},
            "b": X[0],
        }
    }
    twin = Twin()
    names = {"Dense_0": "inner/first", ("Dense_1",): ("second",), "b": "bias"}
    linen_to_nnx(variables, twin, names=names)
    np.testing.assert_array_equal(twin.inner.first.kernel.value[0], X[0])
    np.testing.assert_array_equal(twin.second.kernel.value[0], X[1])
    jax.tree.map(
        np.testing.assert_array_equal, nnx_to_linen(twin, variables, names=names), variables
    )
    with pytest.raises(ConversionError, match="params/b"):
        linen_to_nnx(variables, twin, names={"Dense_0": "inner/first", "b": "nowhere"})


def test_numbered_attributes_keep_their_order_in_merged_modules():
    class Twin(nnx.Module):
        def __init__(self):
            for i in range(12):
                setattr(self, f"layer{i}", Linear(3, 3, nnx.Rngs(0)))

    variables = {"params": {f"Dense_{i}": {"kernel": jnp.full((3, 3), i)} for i in range(12)}}
    for twin in (Twin(), nnx.clone(Twin())):
        linen_to_nnx(variables, twin)
        assert int(twin.layer10.kernel[0, 0]) == 10


class Cell(nnx.Module):
    """Stands in for the layers of these names, which other packages have."""

    def __init__(self, **shapes):
        for name, leaves in shapes.items():
            setattr(self, name, nnx.Dict({k: nnx.Param(jnp.zeros(s)) for k, s in leaves.items()}))


GRUCell = type("GRUCell", (Cell,), {})
OptimizedLSTMCell = type("OptimizedLSTMCell", (Cell,), {})
SimpleCell = type("SimpleCell", (Cell,), {})


def gates(names, bias):
    rng = np.random.default_rng(0)
    return {
        n: {"kernel": rng.normal(size=(3, 2)), **({"bias": rng.normal(size=2)} if bias(n) else {})}
        for n in names
    }


def test_joined_gates():
    cell = OptimizedLSTMCell(dense_i={"kernel": (3, 8)}, dense_h={"kernel": (3, 8), "bias": (8,)})
    names = ["ii", "if", "ig", "io", "hi", "hf", "hg", "ho"]
    variables = {"params": gates(names, lambda n: n[0] == "h")}
    linen_to_nnx(variables, cell)
    for i, gate in enumerate("ifgo"):
        part = slice(2 * i, 2 * i + 2)
        np.testing.assert_allclose(
            cell.dense_i.kernel[:, part], variables["params"]["i" + gate]["kernel"], rtol=1e-6
        )
        np.testing.assert_allclose(
            cell.dense_h.bias[part], variables["params"]["h" + gate]["bias"], rtol=1e-6
        )
    back = nnx_to_linen(cell, variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back, variables)


def test_a_bias_that_nnx_has_no_place_for_must_be_zero():
    cell = GRUCell(dense_i={"kernel": (3, 6), "bias": (6,)}, dense_h={"kernel": (3, 6)})
    values = gates(["ir", "iz", "in", "hr", "hz", "hn"], lambda n: n[0] == "i" or n == "hn")
    with pytest.raises(ConversionError, match="params/hn/bias isn't zero, and nnx has no such"):
        linen_to_nnx({"params": values}, cell)
    values["hn"]["bias"] = np.zeros(2)
    linen_to_nnx({"params": values}, cell)
    back = nnx_to_linen(cell, {"params": values})["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back, values)


def test_cells_with_one_layer_each():
    cell = SimpleCell(dense_i={"kernel": (3, 2), "bias": (2,)}, dense_h={"kernel": (3, 2)})
    values = gates(["i", "h"], lambda n: n == "i")
    linen_to_nnx({"params": values}, cell)
    np.testing.assert_allclose(cell.dense_h.kernel.value, values["h"]["kernel"], rtol=1e-6)
