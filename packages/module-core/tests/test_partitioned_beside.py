"""The older vocabulary: axis names in collections next to the variables'."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, NameInUseError
from linnet.module_core.linen.sharding import partitioning as older
from linnet.struct import FrozenDict

KEY = jax.random.key(0)
ones = jax.nn.initializers.ones
Names = older.AxisMetadata


class Layer(nn.Module):
    axes: Any = ("embed", "mlp")

    @nn.compact
    def __call__(self, x, _=None):
        kernel = older.param_with_axes("kernel", ones, (3, 3), axes=self.axes)
        bias = older.param_with_axes("bias", ones, (3,))
        count = older.variable_with_axes("cache", "n", jnp.zeros, (3,), axes=("mlp",))
        if count.is_mutable():
            count.value = count.value + 1
        return x @ kernel / 3 + bias, None

    def other(self, x, _=None):
        y, _ = self(x)
        return y, None


def specs(names):
    return {name: tuple(spec) for name, spec in older.get_axis_names(names).items()}


def test_names_are_next_to_the_variables():
    variables = Layer().init(KEY, jnp.ones(3))
    assert variables["params_axes"] == {"kernel_axes": Names(("embed", "mlp"))}
    assert variables["cache_axes"] == {"n_axes": Names(("mlp",))}
    assert specs(variables["params_axes"]) == {"kernel": ("embed", "mlp")}
    assert not jax.tree.leaves(variables["params_axes"])
    np.testing.assert_array_equal(variables["cache"]["n"], np.ones(3))
    without = {c: variables[c] for c in ("params", "cache")}
    _, changed = Layer().apply(without, jnp.ones(3), mutable=["cache"])
    assert list(changed) == ["cache"]
    np.testing.assert_array_equal(changed["cache"]["n"], np.full(3, 2.0))
    _, changed = Layer().apply(variables, jnp.ones(3), mutable=True)
    assert changed["params_axes"] == variables["params_axes"]


def test_names_of_nested_modules():
    tree = {"a": {"kernel_axes": Names(("x", None))}, "b_axes": Names(("y",))}
    names = older.get_axis_names(tree)
    assert (tuple(names["a"]["kernel"]), tuple(names["b"])) == (("x", None), ("y",))
    with pytest.raises(ArgumentTypeError, match="Expected AxisMetadata, got 3"):
        older.get_axis_names({"a": 3})


def test_setup_needs_no_module_either():
    class Setup(nn.Module):
        def setup(self):
            self.kernel = older.param_with_axes("kernel", ones, (3,), axes=["x"], module=self)
            self.n = older.variable_with_axes("cache", "n", jnp.zeros, (), axes=())

        def __call__(self):
            return self.kernel, self.n

    (kernel, variable), variables = Setup().init_with_output(KEY)
    np.testing.assert_array_equal(kernel, np.ones(3))
    assert isinstance(variable, older.PartitionedVariable)
    assert (variable.axes, variable.fallback) == ((), nn.RulesFallback.AXIS_IS_UNSHARDED)
    assert variables["params_axes"] == {"kernel_axes": Names(("x",))}


def test_bad_calls():
    with pytest.raises(ArgumentError, match="param_with_axes was called outside"):
        older.param_with_axes("kernel", ones, (3,), axes=("x",))
    with pytest.raises(ArgumentTypeError, match="got 'embed'"):
        Layer(axes="embed").init(KEY, jnp.ones(3))
    variables = Layer().init(KEY, jnp.ones(3))
    with pytest.raises(ArgumentError, match="'kernel' has two different tuples"):
        Layer(axes=("a", "b")).apply(variables, jnp.ones(3), mutable=True)

    class Twice(nn.Module):
        @nn.compact
        def __call__(self):
            older.param_with_axes("a", ones, (3,), axes=("x",))
            older.param_with_axes("a", ones, (3,), axes=("x",))

    with pytest.raises(NameInUseError):
        Twice().init(KEY)


@pytest.mark.parametrize(
    ("axis", "kernel"),
    [
        (0, ("layers", "embed", "mlp")),
        (1, ("embed", "layers", "mlp")),
        (-1, ("embed", "mlp", "layers")),
    ],
)
def test_scan_names_its_axis(axis, kernel):
    Stack = older.scan_with_axes(
        Layer,
        variable_axes={"params": axis, "cache": 0},
        split_rngs={"params": True},
        length=4,
        axes_collections=("params", "cache"),
    )
    assert Stack.__name__ == "Map_variablesMap_variablesScanLayer"
    (y, _), variables = Stack().init_with_output(KEY, jnp.ones(3), None)
    assert specs(variables["params_axes"]) == {"kernel": kernel}
    assert specs(variables["cache_axes"]) == {"n": ("layers", "mlp")}
    assert variables["params"]["kernel"].shape == tuple(4 if n == "layers" else 3 for n in kernel)
    np.testing.assert_allclose(y, np.full(3, 5.0), rtol=1e-6)
    (again, _), changed = Stack().apply(variables, jnp.ones(3), None, mutable=True)
    np.testing.assert_array_equal(again, y)
    assert changed["params_axes"] == variables["params_axes"]
    without = {c: variables[c] for c in ("params", "cache")}
    np.testing.assert_array_equal(Stack().apply(without, jnp.ones(3), None)[0], y)


def test_scan_of_other_methods_filters_and_collections_without_an_axis():
    options = {"split_rngs": {"params": True}, "length": 4}
    named = {"kernel": ("layers", "embed", "mlp")}
    Stack = older.scan_with_axes(Layer, {("params", "cache"): 0}, methods=["other"], **options)
    variables = Stack().init(KEY, jnp.ones(3), None, method="other")
    assert specs(variables["params_axes"]) == named
    Stack = older.scan_with_axes(Layer, {"cache": 0}, "params", False, {"params": False}, length=4)
    variables = Stack().init(KEY, jnp.ones(3), None)
    assert specs(variables["params_axes"]) == {"kernel": ("embed", "mlp")}
    assert variables["params"]["kernel"].shape == (3, 3)


def test_scan_of_other_variables_raises_an_error():
    options = {"split_rngs": {"params": True}, "length": 4}
    first = older.scan_with_axes(Layer, {"params": 0, "cache": 0}, **options)
    second = older.scan_with_axes(Layer, {"params": 0, "cache": 0}, axis_name="depth", **options)
    variables = first().init(KEY, jnp.ones(3), None)
    with pytest.raises(ArgumentError, match="Expected the axis 'depth' at 0 of"):
        second().apply(variables, jnp.ones(3), None, mutable=True)


@pytest.mark.parametrize(
    ("axis", "kernel"), [(0, ("expert", "embed", "mlp")), (None, ("embed", "mlp"))]
)
def test_vmap_names_its_axis(axis, kernel):
    Experts = older.vmap_with_axes(
        Layer,
        variable_axes={"params": axis, "cache": axis},
        split_rngs={"params": axis is not None},
        partitioning_axis_names={"params": "expert"},
    )
    variables = Experts().init(KEY, jnp.ones((2, 3)))
    assert specs(variables["params_axes"]) == {"kernel": kernel}
    assert variables["params"]["kernel"].ndim == len(kernel)
    assert "cache_axes" not in variables


def test_remat_counts_arguments_without_the_module():
    class Flagged(nn.Module):
        @nn.compact
        def __call__(self, x, double):
            y = x * older.param_with_axes("s", ones, (), axes=())
            return 2 * y if double else y

    for numbers in ((1,), 1):
        wrapped = older.remat(Flagged, static_argnums=numbers)
        assert wrapped.__name__ == "Core_remat_staticFlagged"
        y, _ = wrapped().init_with_output(KEY, 1.0, True)
        assert y == 2.0
    with pytest.raises(ArgumentError, match="concrete"):
        older.remat(Flagged, concrete=True)


TREE = {"scale": ("embed",), "taps": [("embed", "mlp"), None]}


class Bank(nn.Module):
    axes: Any = None

    @nn.compact
    def __call__(self, x, _=None):
        def make(key):
            taps = [jnp.zeros((3, 6)), jnp.zeros(2)]
            return {"scale": jnp.ones((3,)), "taps": taps}

        bank = older.param_with_axes("bank", make, axes=self.axes or TREE)
        older.variable_with_axes("state", "bank", make, None, axes=TREE)
        y = x * bank["scale"]
        return y, None


RULES = (("embed", None), ("mlp", None), ("layers", None))


@pytest.mark.parametrize("rules", [(), RULES])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_a_variable_that_is_a_tree_has_a_tree_of_names(rules, wrap):
    with older.axis_rules(rules):
        variables = wrap(Bank().init)(KEY, jnp.ones((2, 3)))
        Bank().apply(variables, jnp.ones((2, 3)))
    for collection in ("params", "state"):
        names = older.get_axis_names(variables[f"{collection}_axes"])["bank"]
        assert tuple(names["scale"]) == ("embed",)
        assert [n and tuple(n) for n in names["taps"]] == [("embed", "mlp"), None]


def test_a_scan_names_its_axis_in_a_tree_of_names():
    scanned = older.scan_with_axes(
        Bank,
        variable_axes={"params": 1, "state": 0, "state_axes": 0},
        split_rngs={"params": True},
        length=2,
    )
    scanned = scanned()
    variables = scanned.init(KEY, jnp.ones(3), None)
    names = older.get_axis_names(variables["params_axes"])["bank"]
    assert tuple(names["scale"]) == ("embed", "layers")
    assert tuple(names["taps"][0]) == ("embed", "layers", "mlp")
    scanned.apply(variables, jnp.ones(3), None)


@pytest.mark.parametrize(
    ("axes", "error", "words"),
    [
        ({"scale": ("embed",)}, ArgumentError, "have different structures"),
        ({**TREE, "scale": "embed"}, ArgumentTypeError, r"\(\"embed\",\)"),
        ({**TREE, "taps": [("embed", 3), None]}, ArgumentTypeError, "a string or None"),
    ],
)
def test_a_tree_of_names_that_does_not_fit_raises_an_error(axes, error, words):
    with pytest.raises(error, match=words):
        Bank(FrozenDict(axes)).init(KEY, jnp.ones((2, 3)))
