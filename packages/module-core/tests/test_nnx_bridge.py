"""Modules of linen and nnx inside one another."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import placed
from linnet.module_core import bridge, linen, nnx
from linnet.module_core.errors import (
    ArgumentError,
    CallCompactUnboundModuleError,
    InvalidRngError,
    ModifyScopeVariableError,
    NameInUseError,
    ScopeVariableNotFoundError,
)

X = placed(np.random.default_rng(0).normal(size=(2, 3)), jnp.float32)
KEY = jax.random.key(0)
NORMAL = jax.nn.initializers.lecun_normal()


class LinenDense(linen.Module):
    features: int

    @linen.compact
    def __call__(self, x):
        return x @ self.param("kernel", NORMAL, (x.shape[-1], self.features))


class LinenBlock(linen.Module):
    """Has parameters, a statistic that changes, a random draw and a sown value."""

    @linen.compact
    def __call__(self, x, train=False):
        x = LinenDense(4)(x)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (4,))
        if train:
            mean.value = 0.5 * mean.value + x.mean(0)
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
            self.sow("intermediates", "x", x)
        return x - mean.value

    def double(self, x):
        return 2 * x


class Dense(nnx.Module):
    def __init__(self, n_in, n_out, *, rngs, **metadata):
        self.kernel = nnx.Param(NORMAL(rngs.params(), (n_in, n_out)), **metadata)

    def __call__(self, x):
        return x @ self.kernel


class Block(nnx.Module):
    def __init__(self, *, rngs):
        self.layers = [Dense(3, 4, rngs=rngs), Dense(4, 4, rngs=rngs)]
        self.mean = nnx.BatchStat(jnp.zeros(4))
        self.noise = rngs.noise.fork()

    def __call__(self, x, train=False):
        for layer in self.layers:
            x = layer(x)
        if train:
            self.mean.value = 0.5 * self.mean.value + x.mean(0)
            x = x + self.noise.normal(x.shape)
        return x - self.mean

    def double(self, x):
        return 2 * x


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


# linen in nnx.


def test_a_linen_module_has_its_variables_as_attributes():
    module = bridge.ToNNX(LinenBlock(), rngs=nnx.Rngs(0))
    with pytest.raises(AttributeError, match="lazy_init has not created yet"):
        module.LinenDense_0
    assert bridge.lazy_init(module, X) is module
    assert type(module.LinenDense_0["kernel"]) is nnx.Param
    assert type(module.mean) is nnx.BatchStat
    variables = {
        "params": {"LinenDense_0": {"kernel": module.LinenDense_0["kernel"].value}},
        "batch_stats": {"mean": module.mean.value},
    }
    np.testing.assert_array_equal(module(X), LinenBlock().apply(variables, X))
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0), 0)
    np.testing.assert_array_equal(
        LinenBlock().init(key, X)["params"]["LinenDense_0"]["kernel"],
        module.LinenDense_0["kernel"].value,
    )


def test_changes_are_kept_as_far_as_collections_are_mutable():
    module = bridge.ToNNX(LinenBlock(), rngs=nnx.Rngs(0)).lazy_init(X)
    mean = module.mean
    with pytest.raises(ModifyScopeVariableError):
        module(X, train=True)
    module(X, train=True, mutable=["batch_stats", "intermediates"])
    assert module.mean is mean
    assert np.any(mean.value)
    assert type(module.x) is nnx.Intermediate
    assert len(module.x.value) == 1
    a, b = (module(X, train=True, mutable=["batch_stats"]) for _ in range(2))
    assert np.any(a != b)
    fixed = [module(X, train=True, mutable=["batch_stats"], rngs=KEY) for _ in "ab"]
    assert fixed[0].shape == (2, 4)


def test_methods_of_the_linen_module():
    module = bridge.ToNNX(LinenBlock(), rngs=KEY).lazy_init(X)
    for y in (module.double(X), module(X, method="double"), module(X, method=LinenBlock.double)):
        np.testing.assert_array_equal(y, 2 * X)
    assert module.module == LinenBlock()
    assert list(module.rngs) == ["params"]
    with pytest.raises(AttributeError, match="no attribute 'triple'"):
        module.triple


def test_linen_modules_below_an_nnx_module_are_all_initialized():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.parts = [bridge.ToNNX(LinenDense(3), rngs=rngs) for _ in "ab"]

        def __call__(self, x):
            for part in self.parts:
                x = part(x)
            return x

    model = bridge.lazy_init(Model(nnx.Rngs(0)), X)
    kernels = [part.kernel.value for part in model.parts]
    assert np.any(kernels[0] != kernels[1])

    @nnx.jit
    def run(model, x):
        return model(x)

    np.testing.assert_allclose(run(model, X), X @ kernels[0] @ kernels[1], rtol=1e-5)
    assert bridge.lazy_init(Model(nnx.Rngs(0)).__call__, X).parts[0].kernel.shape == (3, 3)
    with pytest.raises(ArgumentError, match="lazy_init takes a module"):
        bridge.lazy_init(lambda x: x, X)
    with pytest.raises(ArgumentError, match="ToNNX takes an instance of a linen module, got type"):
        bridge.ToNNX(LinenDense)


def test_boxes_become_metadata_and_boxes_again():
    class Boxed(linen.Module):
        @linen.compact
        def __call__(self, x):
            init = linen.with_partitioning(NORMAL, ("a", None))
            return x @ self.param("kernel", init, (3, 2))

    module = bridge.ToNNX(Boxed(), rngs=nnx.Rngs(0)).lazy_init(X)
    assert module.kernel.out_sharding == ("a", None)
    assert module.kernel.shape == (3, 2)
    box = bridge.to_linen_var(module.kernel)
    assert isinstance(box, linen.Partitioned)
    assert box.names == ("a", None)
    assert module(X).shape == (2, 2)


# nnx in linen.


def test_an_nnx_module_has_its_variables_in_collections():
    module = bridge.to_linen(Block)
    variables = module.init({"params": KEY, "noise": KEY}, X)
    assert shapes(variables) == {
        "params": {"layers": {0: {"kernel": (3, 4)}, 1: {"kernel": (4, 4)}}},
        "batch_stats": {"mean": (4,)},
    }
    first, second = (variables["params"]["layers"][i]["kernel"] for i in (0, 1))
    np.testing.assert_array_equal(module.apply(variables, X), X @ first @ second)
    np.testing.assert_array_equal(module.apply(variables, X, nnx_method="double"), 2 * X)
    np.testing.assert_array_equal(module.apply(variables, X, nnx_method=Block.double), 2 * X)


@pytest.mark.parametrize("abstract_init", [True, False])
def test_changes_of_mutable_collections_come_back(abstract_init):
    module = bridge.to_linen(Block, abstract_init=abstract_init)
    variables = module.init({"params": KEY, "noise": KEY}, X)
    y, updates = module.apply(
        variables, X, train=True, rngs={"noise": KEY}, mutable=["batch_stats"]
    )
    assert np.any(updates["batch_stats"]["mean"])
    assert not np.any(variables["batch_stats"]["mean"])
    again = module.apply(variables, X, train=True, rngs={"noise": KEY})
    np.testing.assert_array_equal(again, y)
    other = module.apply(variables, X, train=True, rngs={"noise": jax.random.key(1)})
    assert np.any(other != y)
    with pytest.raises(InvalidRngError, match="stream 'default', but apply got no key"):
        module.apply(variables, X, train=True)


def test_a_missing_stream_draws_from_params_at_init_as_in_linen():
    variables = bridge.to_linen(Block).init(KEY, X)
    assert variables["params"]["layers"][1]["kernel"].shape == (4, 4)


def test_nnx_modules_below_linen_modules_and_under_its_transforms():
    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = bridge.to_linen(Dense, 3, 3)(x)
            return bridge.to_linen(Dense, 3, 2, name="last")(x)

    variables = Outer().init(KEY, X)
    assert shapes(variables) == {
        "params": {"ToLinen_0": {"kernel": (3, 3)}, "last": {"kernel": (3, 2)}}
    }
    mapped = linen.vmap(bridge.ToLinen, variable_axes={"params": 0}, split_rngs={"params": True})(
        Dense, args=(3, 2)
    )
    kernels = mapped.init(KEY, jnp.stack([X, X]))["params"]["kernel"]
    assert kernels.shape == (2, 3, 2)
    assert np.any(kernels[0] != kernels[1])


def test_scanned_nnx_modules():
    class Cell(nnx.Module):
        def __init__(self, n, *, rngs):
            self.kernel = nnx.Param(NORMAL(rngs.params(), (n, n)))
            self.steps = nnx.BatchStat(jnp.int32(0))

        def __call__(self, h, x):
            self.steps.value = self.steps.value + 1
            h = jnp.tanh(h @ self.kernel + x)
            return h, h

    cell = linen.scan(
        bridge.ToLinen,
        variable_broadcast="params",
        variable_axes={"batch_stats": 0},
        split_rngs={"params": False},
    )(Cell, args=(3,))
    xs = jnp.stack([X, -X, X])
    variables = cell.init(KEY, X, xs)
    (h, _), updates = cell.apply(variables, X, xs, mutable=["batch_stats"])
    expected = X
    for x in xs:
        expected = jnp.tanh(expected @ variables["params"]["kernel"] + x)
    np.testing.assert_allclose(h, expected, rtol=1e-5)
    assert updates["batch_stats"]["steps"].tolist() == [1, 1, 1]


def test_streams_that_hold_an_array_of_keys():
    class Noisy(nnx.Module):
        def __init__(self, *, rngs):
            self.noise = rngs.noise.fork()

        def __call__(self, x):
            return x + self.noise.normal(x.shape)

    module = bridge.to_linen(nnx.Repeat, Noisy, 3)
    first, variables = module.init_with_output({"params": KEY, "noise": KEY}, X)
    assert first.shape == X.shape
    a, b = (module.apply(variables, X, rngs={"noise": jax.random.key(i)}) for i in (1, 2))
    assert not np.allclose(a, b)
    assert np.array_equal(a, module.apply(variables, X, rngs={"noise": jax.random.key(1)}))
    with pytest.raises(InvalidRngError, match="no key"):
        module.apply(variables, X)


def test_metadata_goes_into_boxes():
    module = bridge.to_linen(Dense, 3, 2, out_sharding=("a", None), unit="volt")
    variables = module.init(KEY, X)
    box = variables["params"]["kernel"]
    assert isinstance(box, bridge.NNXMeta)
    assert box.metadata == {"out_sharding": ("a", None), "unit": "volt"}
    assert tuple(linen.get_partition_spec(variables)["params"]["kernel"]) == ("a", None)
    assert module.apply(variables, X).shape == (2, 2)
    assert box.add_axis(0, {linen.PARTITION_NAME: "layers"}).metadata["out_sharding"] == (
        "layers",
        "a",
        None,
    )
    assert box.remove_axis(1, {}).metadata["out_sharding"] == ("a",)
    assert box.to_nnx_variable().unit == "volt"
    bare = bridge.to_linen(Dense, 3, 2, metadata_fn=None, unit="volt").init(KEY, X)
    assert isinstance(bare["params"]["kernel"], jax.Array)
    init = bridge.with_partitioning(NORMAL, ("a", "b"))
    partitioned = bridge.to_linen_var(nnx.Param(init(KEY, (3, 2))))
    assert isinstance(partitioned, linen.Partitioned)


def test_missing_and_additional_variables():
    module = bridge.to_linen(Block)
    variables = module.init(KEY, X)
    with pytest.raises(ScopeVariableNotFoundError, match="1 variable of ToLinen is missing: batch"):
        module.apply({"params": variables["params"]}, X)

    class Sowing(Dense):
        def __call__(self, x):
            self.sow(nnx.Intermediate, "x", x)
            return super().__call__(x)

    module = bridge.to_linen(Sowing, 3, 2)
    variables = module.init(KEY, X)
    _, updates = module.apply(variables, X, mutable=["intermediates"])
    np.testing.assert_array_equal(updates["intermediates"]["x"][0], X)
    _, updates = module.apply({**variables, **updates}, X, mutable=["intermediates"])
    assert len(updates["intermediates"]["x"]) == 2


def test_classes_and_modules_without_streams():
    class Scale(nnx.Module):
        def __init__(self, factor):
            self.factor = nnx.Param(factor)

        def __call__(self, x):
            return self.factor * x

    assert bridge.to_linen(Scale, 2.0, skip_rng=True).init(KEY, X) == {"params": {"factor": 2.0}}
    LinenScale = bridge.to_linen_class(Scale, base_skip_rng=True)
    assert LinenScale.__name__ == "Scale"

    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x):
            return LinenScale(factor=3.0)(LinenScale(2.0)(x))

    variables = Outer().init(KEY, X)
    assert variables == {"params": {"Scale_0": {"factor": 3.0}, "Scale_1": {"factor": 2.0}}}
    np.testing.assert_allclose(Outer().apply(variables, X), 6 * X, rtol=1e-6)


def test_gradients_through_both():
    module = bridge.to_linen(Dense, 3, 2)
    variables = module.init(KEY, X)
    found = jax.grad(lambda v: jnp.sum(module.apply(v, X) ** 2))(variables)["params"]["kernel"]
    kernel = np.asarray(variables["params"]["kernel"])
    np.testing.assert_allclose(found, 2 * X.T @ (X @ kernel), rtol=1e-5)


# Variables.


def test_variables_convert_both_ways():
    variables = {"params": {"a": {"k": jnp.ones(1)}}, "batch_stats": {"a": {"m": jnp.ones(2)}}}
    attributes = bridge.linen_vars_to_nnx_attrs(variables)
    assert type(attributes["a"]["k"]) is nnx.Param
    assert shapes(bridge.nnx_attrs_to_linen_vars(attributes)) == shapes(variables)
    with pytest.raises(ArgumentError, match=r"'params' and 'cache' both have 'a/k'"):
        bridge.linen_vars_to_nnx_attrs({**variables, "cache": {"a": {"k": 1}}})
    assert bridge.sort_variable_types([nnx.Variable, nnx.Param, nnx.LoRAParam]) == [
        nnx.LoRAParam,
        nnx.Param,
        nnx.Variable,
    ]
    assert type(bridge.to_nnx_var("unheard_of", 1)).__name__ == "unheard_of"


def test_functional_modules():
    dense = bridge.functional(Dense)(3, 2)
    with pytest.raises(ArgumentError, match="call init before apply"):
        dense.apply()
    state = dense.init(rngs=nnx.Rngs(0))
    y, (_, after) = dense.apply(state)(X)
    np.testing.assert_array_equal(y, X @ state.kernel)
    assert after.kernel is not state.kernel


# Modules of nnx that are written as in linen.


class BridgeDense(bridge.Module):
    features: int

    @bridge.compact
    def __call__(self, x):
        kernel = self.param("kernel", NORMAL, (x.shape[-1], self.features))
        return x @ kernel


class MLP(bridge.Module):
    hidden: int

    @bridge.compact
    def __call__(self, x):
        calls = self.variable("counter", "calls", jnp.zeros, (), jnp.int32)
        calls.value = calls.value + 1
        x = BridgeDense(self.hidden)(x)
        return BridgeDense(2, name="last")(jnp.tanh(x))

    def double(self, x):
        return 2 * x


def test_compact_modules_init_and_apply():
    model = MLP(4)
    variables = model.init(0, X)
    assert shapes(variables) == {
        "counter": {"calls": ()},
        "params": {"BridgeDense_0": {"kernel": (3, 4)}, "last": {"kernel": (4, 2)}},
    }
    params = variables["params"]
    np.testing.assert_array_equal(
        params["BridgeDense_0"]["kernel"], NORMAL(jax.random.fold_in(KEY, 0), (3, 4))
    )
    expected = jnp.tanh(X @ params["BridgeDense_0"]["kernel"]) @ params["last"]["kernel"]
    np.testing.assert_array_equal(model.apply(variables, X), expected)
    y, updates = jax.jit(lambda v: model.apply(v, X, mutable=["counter"]))(variables)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    assert {k: int(v["calls"]) for k, v in updates.items()} == {"counter": 2}
    assert int(variables["counter"]["calls"]) == 1
    np.testing.assert_array_equal(model.apply(variables, X, method="double"), 2 * X)
    y, _ = model.init_with_output({"params": KEY}, X, method=MLP.double)
    np.testing.assert_array_equal(y, 2 * X)
    assert model.scope is None


def test_setup_names_by_attribute():
    class Model(bridge.Module):
        def setup(self):
            self.first = BridgeDense(3)
            self.rest = [BridgeDense(3), BridgeDense(2)]
            self.scale = self.param("scale", jax.nn.initializers.ones, (2,))
            self.linear = Dense(2, 2, rngs=nnx.Rngs(self.scope.rngs.params()))

        def __call__(self, x):
            x = self.first(x)
            for layer in self.rest:
                x = layer(x)
            return self.linear(x * self.scale)

    variables = Model().init(KEY, X)["params"]
    assert shapes(variables) == {
        "first": {"kernel": (3, 3)},
        "rest": {0: {"kernel": (3, 3)}, 1: {"kernel": (3, 2)}},
        "scale": (2,),
        "linear": {"kernel": (2, 2)},
    }
    kernels = [variables["first"], variables["rest"][0], variables["rest"][1], variables["linear"]]
    expected = X
    for layer in kernels:
        expected = expected @ layer["kernel"]
    y = Model().apply({"params": variables}, X, rngs=1)  # the streams of apply don't matter
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_a_compact_method_that_runs_twice_shares_its_children():
    class Twice(bridge.Module):
        @bridge.compact
        def once(self, x):
            return BridgeDense(3)(x)

        def __call__(self, x):
            return self.once(self.once(x))

    variables = Twice().init(KEY, X)
    kernel = variables["params"]["BridgeDense_0"]["kernel"]
    np.testing.assert_allclose(Twice().apply(variables, X), X @ kernel @ kernel, rtol=1e-6)


def test_submodules_of_both_kinds():
    class Model(bridge.Module):
        @bridge.compact
        def __call__(self, x):
            x = bridge.linen_in_bridge_mdl(LinenDense(4))(x)
            return bridge.nnx_in_bridge_mdl(lambda rngs: Dense(4, 2, rngs=rngs))(x)

    variables = Model().init(KEY, X)
    assert shapes(variables) == {
        "params": {"LinenDense_0": {"kernel": (3, 4)}, "Dense_0": {"kernel": (4, 2)}}
    }
    first, second = (variables["params"][n]["kernel"] for n in ("LinenDense_0", "Dense_0"))
    np.testing.assert_array_equal(Model().apply(variables, X), X @ first @ second)
    with pytest.raises(ArgumentError, match="in a compact method or in setup"):
        bridge.linen_in_bridge_mdl(LinenDense(4))
    assert bridge.current_module() is None


def test_mistakes_with_bridge_modules_are_named():
    with pytest.raises(CallCompactUnboundModuleError, match="on a module that isn't bound"):
        MLP(4)(X)
    with pytest.raises(CallCompactUnboundModuleError, match="Can't draw keys of MLP"):
        MLP(4).make_rng()
    with pytest.raises(ScopeVariableNotFoundError, match="no variable 'kernel' in the coll"):
        MLP(4).apply({"counter": {"calls": jnp.int32(0)}}, X)

    class Taken(bridge.Module):
        @bridge.compact
        def __call__(self, x):
            self.param("w", jax.nn.initializers.ones, (1,))
            self.variable("stats", "w", jnp.zeros, ())

    with pytest.raises(NameInUseError, match="already has an attribute 'w'"):
        Taken().init(KEY, X)


def test_boxes_pickle():
    box = bridge.NNXMeta(nnx.Param, np.ones(2), {"unit": "volt"})
    assert pickle.loads(pickle.dumps(box)).metadata == box.metadata
