"""The documented behavior of the normalization layers, statement by statement."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
import linnet.linen as nn
from comparing import sample
from linnet.module_core import errors

KEY = jax.random.key(0)

SOME = sample((4, 2, 3, 8), seed=5)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.LayerNorm(), ("scale", "bias")),
        (nn.GroupNorm(num_groups=2), ("scale", "bias")),
        (nn.InstanceNorm(), ("scale", "bias")),
        (nn.BatchNorm(use_running_average=False), ("scale", "bias")),
        (nn.RMSNorm(), ("scale",)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_scales_begin_as_ones_and_biases_as_zeros(layer, names):
    y, variables = layer.init_with_output(KEY, SOME)
    first = {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}
    assert set(variables["params"]) == set(names)
    for name, value in variables["params"].items():
        np.testing.assert_array_equal(value, first[name])
        assert value.dtype == jnp.float32
    np.testing.assert_array_equal(layer.apply(variables, SOME, **mutable(layer))[0], y)


def mutable(layer):
    """With this, `apply` returns a pair for every layer."""
    return {"mutable": ["batch_stats"]}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (nn.LayerNorm(reduction_axes=(1, 2, 3)), nn.GroupNorm(num_groups=1)),
        (nn.LayerNorm(reduction_axes=(1, 2), feature_axes=-1), nn.InstanceNorm(feature_axes=-1)),
        (nn.LayerNorm(reduction_axes=[1, 2], feature_axes=-1), nn.InstanceNorm()),
        (nn.GroupNorm(num_groups=None, group_size=1), nn.InstanceNorm(feature_axes=-1)),
        (nn.GroupNorm(num_groups=8), nn.InstanceNorm()),
    ],
)
def test_norms_over_the_same_axes_are_equal(a, b):
    scale, bias = jnp.linspace(0.5, 1.5, 8), jnp.linspace(-1.0, 1.0, 8)
    variables = {"params": {"scale": scale, "bias": bias}}
    np.testing.assert_allclose(a.apply(variables, SOME), b.apply(variables, SOME), atol=1e-6)


def test_batch_norm_returns_new_averages_while_training_and_the_same_afterwards():
    layer = nn.BatchNorm(momentum=0.75, epsilon=1e-3, dtype=jnp.float32)
    x = 3 + SOME[0, 0]  # [3, 8]
    variables = layer.init(KEY, x, use_running_average=False)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"scale": (8,), "bias": (8,)},
        "batch_stats": {"mean": (8,), "var": (8,)},
    }
    _, trained = layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    _, kept = layer.apply(variables, x, use_running_average=True, mutable=["batch_stats"])
    np.testing.assert_allclose(trained["batch_stats"]["mean"], 0.25 * x.mean(0), rtol=1e-5)
    for name, value in kept["batch_stats"].items():
        np.testing.assert_array_equal(value, variables["batch_stats"][name])


def test_spectral_norm_around_one_layer_of_a_model_that_trains():
    class Critic(nn.Module):
        @nn.compact
        def __call__(self, x, update):
            x = nn.Dense(6)(x)
            x = nn.SpectralNorm(nn.Dense(3))(x, update_stats=update)
            return nn.Dense(1)(x)

    model = Critic()
    x = SOME[0, 0]
    target = jnp.array([[1.0], [0.0], [-1.0]])
    variables = model.init(KEY, x, update=False)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "Dense_0": {"kernel": (8, 6), "bias": (6,)},
            "Dense_1": {"kernel": (6, 3), "bias": (3,)},
            "Dense_2": {"kernel": (3, 1), "bias": (1,)},
        },
        "batch_stats": {"SpectralNorm_0": {"Dense_1/kernel/u": (1, 3), "Dense_1/kernel/sigma": ()}},
    }

    @jax.jit
    def descend(variables):
        def error(params):
            y, new = model.apply(
                {**variables, "params": params}, x, update=True, mutable=["batch_stats"]
            )
            return jnp.mean((y - target) ** 2), new

        (value, new), slope = jax.value_and_grad(error, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda w, g: w - 0.05 * g, variables["params"], slope)
        return {"params": params, **new}, value

    errors_ = []
    for _ in range(8):
        variables, value = descend(variables)
        errors_.append(value)
    assert errors_[-1] < errors_[0] / 2
    sigma = variables["batch_stats"]["SpectralNorm_0"]["Dense_1/kernel/sigma"]
    exact = np.linalg.norm(variables["params"]["Dense_1"]["kernel"], 2)
    assert sigma == pytest.approx(exact, rel=0.1)
    first, second = (model.apply(variables, x, update=False) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_weight_norm_around_a_layer_and_by_filter_around_a_model():
    class Twin(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4, name="inner")(x)

    class Tower(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="outer")(Twin()(x))

    class Whole(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.WeightNorm(nn.Dense(3), variable_filter=None)(x)
            return nn.WeightNorm(Tower(), variable_filter={"kernel", "Twin"})(x)

    variables = jax.eval_shape(Whole().init, KEY, jnp.ones((1, 5)))
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "Dense_0": {"kernel": (5, 3), "bias": (3,)},
        "Tower_0": {
            "Twin_0": {"inner": {"kernel": (3, 4), "bias": (4,)}},
            "outer": {"kernel": (4, 2), "bias": (2,)},
        },
        "WeightNorm_0": {"Dense_0/kernel/scale": (3,), "Dense_0/bias/scale": (3,)},
        "WeightNorm_1": {
            "Tower_0/Twin_0/inner/kernel/scale": (4,),
            "Tower_0/Twin_0/inner/bias/scale": (4,),  # by the name of its module
            "Tower_0/outer/kernel/scale": (2,),
        },
    }


# Signatures: names, order and defaults.

COMMON = {"dtype": None, "param_dtype": jnp.float32}
AFFINE = {"use_bias": True, "use_scale": True, "bias_init": "zeros", "scale_init": "ones"}
DEVICES = {
    "axis_name": None,
    "axis_index_groups": None,
    "use_fast_variance": True,
    "force_float32_reductions": True,
}
SIGNATURES = {
    "BatchNorm": {
        "use_running_average": None,
        "axis": -1,
        "momentum": 0.99,
        "epsilon": 1e-5,
        **COMMON,
        **AFFINE,
        **DEVICES,
    },
    "LayerNorm": {
        "epsilon": 1e-6,
        **COMMON,
        **AFFINE,
        "reduction_axes": -1,
        "feature_axes": -1,
        **DEVICES,
    },
    "GroupNorm": {
        "num_groups": 32,
        "group_size": None,
        "epsilon": 1e-6,
        **COMMON,
        **AFFINE,
        "reduction_axes": None,
        **DEVICES,
    },
    "RMSNorm": {
        "epsilon": 1e-6,
        **COMMON,
        "use_scale": True,
        "scale_init": "ones",
        "reduction_axes": -1,
        "feature_axes": -1,
        **DEVICES,
    },
    "InstanceNorm": {"epsilon": 1e-6, **COMMON, **AFFINE, "feature_axes": -1, **DEVICES},
    "SpectralNorm": {
        "layer_instance": inspect.Parameter.empty,
        "n_steps": 1,
        "epsilon": 1e-12,
        **COMMON,
        "error_on_non_matrix": False,
        "collection_name": "batch_stats",
    },
    "WeightNorm": {
        "layer_instance": inspect.Parameter.empty,
        "epsilon": 1e-12,
        **COMMON,
        "use_scale": True,
        "scale_init": "ones",
        "feature_axes": -1,
        "variable_filter": "<factory>",
    },
}
CALLS = {
    "BatchNorm": "(self, x, use_running_average=None, *, mask=None)",
    "SpectralNorm": "(self, *args, update_stats, **kwargs)",
    "WeightNorm": "(self, *args, **kwargs)",
}


OWN = {"RMSNorm": ["zero_centered"]}  # after the documented ones


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    parameters = inspect.signature(getattr(nn, name)).parameters
    assert [*parameters] == [*SIGNATURES[name], *OWN.get(name, ()), "parent", "name"]
    for field, default in SIGNATURES[name].items():
        actual = parameters[field].default
        if default in ("zeros", "ones"):
            np.testing.assert_array_equal(actual(KEY, (2,)), getattr(jnp, default)(2))
        elif default == "<factory>":
            assert repr(actual) == "<factory>"
        else:
            assert actual == default
    call = inspect.signature(getattr(nn, name).__call__)
    call = call.replace(
        parameters=[
            p.replace(annotation=inspect.Parameter.empty) for p in call.parameters.values()
        ],
        return_annotation=inspect.Signature.empty,
    )
    assert str(call) == CALLS.get(name, "(self, x, *, mask=None)")


# The values that they compute.

NORMS = {
    "BatchNorm": lambda **fields: nn.BatchNorm(use_running_average=False, **fields),
    "LayerNorm": nn.LayerNorm,
    "GroupNorm": lambda **fields: nn.GroupNorm(num_groups=2, **fields),
    "RMSNorm": nn.RMSNorm,
    "InstanceNorm": nn.InstanceNorm,
}
each_norm = pytest.mark.parametrize("make", NORMS.values(), ids=NORMS)
X = 3 + 2 * sample((5, 4, 6, 8))


def run(layer, x=X, **call):
    """Output and variables of `init`."""
    return jax.jit(lambda x: layer.init_with_output(KEY, x, **call))(x)


near = functools.partial(comparing.near, atol=1e-5)


def test_mean_near_0_and_standard_deviation_near_1():
    for layer, axes in (
        (nn.LayerNorm(), -1),
        (nn.InstanceNorm(), (1, 2)),
        (nn.BatchNorm(use_running_average=False), (0, 1, 2)),
    ):
        y, _ = run(layer)
        near(jnp.mean(y, axes), 0)
        near(jnp.std(y, axes), 1)


def test_layer_norm_takes_each_example_by_itself_and_batch_norm_does_not():
    alone, together = run(nn.LayerNorm(), X[:1])[0], run(nn.LayerNorm())[0][:1]
    near(alone, together)
    layer = nn.BatchNorm(use_running_average=False)
    assert abs(run(layer, X[:1])[0] - run(layer)[0][:1]).max() > 0.01


def test_rms_norm_does_not_center():
    y, _ = run(nn.RMSNorm())
    near(jnp.mean(y**2, -1), 1)
    assert (jnp.mean(y, -1) > 0.1).all()


@each_norm
def test_epsilon_is_added_to_the_variance(make):
    x = jnp.broadcast_to(jnp.array([0.0, 2.0, -2.0, 0.0, 0.0, 2.0, -2.0, 0.0]), (4, 4, 8))
    x = x.at[:, ::2].multiply(-1).at[::2].multiply(-1)  # of mean zero along every axis
    small, large = run(make(epsilon=0.0), x)[0], run(make(epsilon=2.0), x)[0]
    assert (jnp.abs(large) <= jnp.abs(jnp.nan_to_num(small))).all()
    assert np.isfinite(large).all()


@each_norm
def test_the_result_s_dtype_is_inferred_or_given(make):
    assert run(make())[0].dtype == jnp.float32
    half = X.astype(jnp.bfloat16)
    assert run(make(), half)[0].dtype == jnp.float32
    assert run(make(param_dtype=jnp.bfloat16), half)[0].dtype == jnp.bfloat16
    assert run(make(dtype=jnp.float16))[0].dtype == jnp.float16


@each_norm
def test_param_dtype_goes_to_the_initializers(make):
    assert run(make())[1]["params"]["scale"].dtype == jnp.float32
    params = run(make(param_dtype=jnp.float16))[1]["params"]
    assert all(p.dtype == jnp.float16 for p in params.values())


@each_norm
def test_use_scale_use_bias_and_their_initializers(make):
    twos = nn.initializers.constant(2.0)
    y, variables = run(make())
    names = set(variables["params"])
    assert names == ({"scale"} if make is nn.RMSNorm else {"scale", "bias"})
    doubled, _ = run(make(scale_init=twos))
    near(doubled, 2 * y)
    plain, variables = run(make(use_scale=False))
    near(plain, y)
    assert set(variables.get("params", {})) == names - {"scale"}
    if "bias" in names:
        shifted, _ = run(make(bias_init=twos))
        near(shifted, y + 2)
        plain, variables = run(make(use_bias=False))
        near(plain, y)
        assert set(variables["params"]) == {"scale"}


@each_norm
def test_the_slower_variance_is_the_same_but_for_rounding(make):
    near(run(make(use_fast_variance=False))[0], run(make())[0], atol=1e-4)
    far = X + 10000
    exact = np.asarray(run(make(), X)[0])
    error = {
        fast: abs(np.asarray(run(make(use_fast_variance=fast), far)[0]) - exact).max()
        for fast in (True, False)
    }
    if make is not nn.RMSNorm:
        assert error[False] < 0.05 < error[True]


@each_norm
def test_a_mask_says_where_mean_and_variance_are_computed(make):
    mask = jnp.ones(X.shape, bool).at[:, 2:].set(False)
    y, _ = run(make(), mask=mask)
    assert y.shape == X.shape
    near(y[:, :2], run(make(), X[:, :2])[0])
    # The mask can have any shape that broadcasts.
    near(run(make(), mask=mask[0, :, :1, :1])[0], y)
    other = X.at[:, 2:].set(1000.0)
    near(run(make(), other, mask=mask)[0][:, :2], y[:, :2])


@each_norm
def test_axis_name_combines_the_statistics_of_several_devices(make):
    x = X.reshape(5, 4, 6, 8)
    variables = run(make(), x[0])[1]

    def device(x, **fields):
        return make(axis_name="devices", **fields).apply(variables, x, mutable=["batch_stats"])[0]

    y = jax.jit(jax.vmap(device, axis_name="devices"))(x)
    # Statistics that are averaged over devices are those of the data of all devices.
    moved = jnp.moveaxis(x, 0, 1)  # [4, devices, 6, 8]
    if make is nn.LayerNorm:
        expected = run(nn.LayerNorm(reduction_axes=(1, 3)), moved)[0]
    elif make is nn.RMSNorm:
        expected = run(nn.RMSNorm(reduction_axes=(1, 3)), moved)[0]
    else:
        expected = run(make(), moved)[0]
    near(jnp.moveaxis(y, 0, 1), expected, atol=1e-4)


def test_axis_index_groups_normalize_examples_of_some_devices_together():
    """As in the docs: [[0, 1], [2, 3]]. `vmap` has no groups, so it is a four-device program."""
    layer = nn.BatchNorm(
        use_running_average=False, axis_name="devices", axis_index_groups=[[0, 1], [2, 3]]
    )
    variables = run(nn.BatchNorm(use_running_average=False), X[0])[1]
    mesh = jax.sharding.AbstractMesh((4,), ("devices",))
    spec = jax.sharding.PartitionSpec("devices")
    shard_map = getattr(jax, "shard_map", None)
    if shard_map is None:
        from jax.experimental.shard_map import shard_map

    def device(x):
        return layer.apply(variables, x, mutable=["batch_stats"])[0]

    check = {"check_vma": False} if hasattr(jax, "shard_map") else {"check_rep": False}
    program = shard_map(device, mesh=mesh, in_specs=spec, out_specs=spec, **check)
    text = str(jax.make_jaxpr(program)(jax.ShapeDtypeStruct((4, 6, 8), jnp.float32)))
    assert "axis_index_groups=((0, 1), (2, 3))" in text.replace("[", "(").replace("]", ")")


# BatchNorm.


def test_batch_norm_s_feature_or_non_batch_axes():
    assert run(nn.BatchNorm(use_running_average=False))[1]["params"]["scale"].shape == (8,)
    layer = nn.BatchNorm(use_running_average=False, axis=1)
    y, variables = run(layer)
    assert variables["batch_stats"]["mean"].shape == (4,)
    near(jnp.mean(y, (0, 2, 3)), 0)


def test_momentum_is_the_decay_of_the_average():
    layer = nn.BatchNorm(use_running_average=False, momentum=0.9)
    variables = run(layer)[1]
    average = 0.0
    for i in range(3):
        _, updates = layer.apply(variables, X * i, mutable=["batch_stats"])
        variables = {**variables, **updates}
        average = 0.9 * average + 0.1 * jnp.mean(X * i, (0, 1, 2))
    near(variables["batch_stats"]["mean"], average)


def test_the_running_averages_are_used_instead_of_the_batch_s_statistics():
    layer = nn.BatchNorm(use_running_average=True)
    variables = run(layer)[1]
    near(layer.apply(variables, X), X / np.sqrt(1 + 1e-5))
    # The averages don't change, so the collection needn't be mutable.
    _, updates = layer.apply(variables, X, mutable=["batch_stats"])
    near(updates["batch_stats"]["mean"], 0)


def test_the_averages_are_not_updated_during_initialization():
    variables = run(nn.BatchNorm(use_running_average=False, axis_name="not there"))[1]
    near(variables["batch_stats"]["mean"], 0)
    near(variables["batch_stats"]["var"], 1)


def test_the_batch_s_statistics_are_used_in_training_only_with_a_mutable_collection():
    layer = nn.BatchNorm(use_running_average=False)
    with pytest.raises(errors.ModifyScopeVariableError, match="batch_stats"):
        layer.apply(run(layer)[1], X)


def test_one_collection_holds_the_averages_of_all_batch_norms():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=False)(nn.Dense(3)(x))
            return nn.BatchNorm(use_running_average=False)(x)

    stats = run(Model())[1]["batch_stats"]
    assert {name: set(values) for name, values in stats.items()} == {
        "BatchNorm_0": {"mean", "var"},
        "BatchNorm_1": {"mean", "var"},
    }


# Layer, group and instance norm are special cases of one another.


def test_parameters_have_the_shape_of_the_feature_axes():
    for make in (nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm):
        params = run(make(feature_axes=(1, -1)))[1]["params"]
        assert all(p.shape == (4, 8) for p in params.values())


def test_group_norm_s_statistics_are_shared_by_groups_of_channels_not_by_the_batch():
    y, _ = run(nn.GroupNorm(num_groups=4))
    near(jnp.mean(y.reshape(5, 4, 6, 4, 2), (1, 2, 4)), 0)
    near(y[:1], run(nn.GroupNorm(num_groups=4), X[:1])[0])
    near(y, run(nn.GroupNorm(num_groups=None, group_size=2))[0])
    assert set(run(nn.GroupNorm(num_groups=4))[1]) == {"params"}  # no state


def test_either_the_number_or_the_size_of_groups():
    for fields in ({"group_size": 2}, {"num_groups": None}):
        with pytest.raises(ValueError, match="num_groups"):
            run(nn.GroupNorm(**fields))


def test_group_norm_s_reduction_axes_must_include_the_last():
    with pytest.raises(ValueError, match="last axis"):
        run(nn.GroupNorm(num_groups=2, reduction_axes=(1, 2)))


def test_given_reduction_axes_allow_more_leading_axes_than_at_init():
    layer = nn.GroupNorm(num_groups=2, reduction_axes=(-3, -2, -1))
    variables = run(layer, X[0])[1]
    near(layer.apply(variables, X)[0], layer.apply(variables, X[0]))


def test_instance_norm_reduces_all_but_the_batch_and_the_features():
    y, _ = run(nn.InstanceNorm(feature_axes=1))
    near(jnp.mean(y, (2, 3)), 0)
    near(jnp.std(y, (2, 3)), 1)


# Norms of weights.


class Linear(nn.Module):
    """Every kind of parameter: a scalar, a vector, a matrix, a tensor."""

    @nn.compact
    def __call__(self, x, *, times=1.0):
        init = nn.initializers.normal()
        scalar = self.param("scalar", init, ())
        vector = self.param("vector", init, (4,))
        matrix = self.param("matrix", init, (x.shape[-1], 4))
        tensor = self.param("tensor", init, (2, x.shape[-1], 4))
        return times * (scalar + vector + x @ matrix + x @ tensor[0] + x @ tensor[1])


VECTORS = sample((3, 5))


def test_spectral_norm_makes_the_spectral_norm_1():
    layer = nn.SpectralNorm(Linear(), n_steps=60)
    _, variables = run(layer, VECTORS, update_stats=True)
    params = variables["params"]["layer_instance"]
    largest = np.linalg.svd(params["matrix"], compute_uv=False)[0]
    near(largest, 1, atol=1e-3)
    # By default, scalars don't change, and all but the last dimension of other tensors are merged.
    largest = np.linalg.svd(params["tensor"].reshape(-1, 4), compute_uv=False)[0]
    near(largest, 1, atol=1e-3)
    plain = run(Linear(), VECTORS)[1]["params"]
    assert plain["scalar"].shape == params["scalar"].shape
    names = {name.split("/")[1] for name in variables["batch_stats"]}
    assert names == {"matrix", "tensor"}


def test_error_on_non_matrix():
    with pytest.raises(ValueError, match="error_on_non_matrix"):
        run(nn.SpectralNorm(Linear(), error_on_non_matrix=True), VECTORS, update_stats=True)


def test_update_stats_updates_u_and_sigma_and_its_absence_is_deterministic():
    layer = nn.SpectralNorm(nn.Dense(4))
    _, variables = run(layer, VECTORS, update_stats=False)
    kernel = sample((5, 4))
    variables["params"]["layer_instance"]["kernel"] = kernel
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    before = layer.apply(variables, VECTORS, update_stats=False)
    np.testing.assert_array_equal(before, layer.apply(variables, VECTORS, update_stats=False))
    for _ in range(30):
        _, updates = layer.apply(variables, VECTORS, update_stats=True, mutable=["batch_stats"])
        variables = {**variables, **updates}
    near(updates["batch_stats"]["layer_instance/kernel/sigma"], largest, atol=0.05)
    bias = variables["params"]["layer_instance"]["bias"]
    after = layer.apply(variables, VECTORS, update_stats=False)
    near(after, VECTORS @ kernel / largest + bias, atol=0.1)


def test_more_steps_come_closer_at_once():
    kernel = sample((5, 4))
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    errors = []
    for steps in (1, 8):
        layer = nn.SpectralNorm(nn.Dense(4), n_steps=steps)
        _, variables = run(layer, VECTORS, update_stats=False)
        variables["params"]["layer_instance"]["kernel"] = kernel
        _, updates = layer.apply(variables, VECTORS, update_stats=True, mutable=["batch_stats"])
        errors.append(abs(updates["batch_stats"]["layer_instance/kernel/sigma"] - largest))
    assert errors[1] < errors[0]


def test_the_collection_of_u_and_sigma_has_a_name():
    _, variables = run(
        nn.SpectralNorm(nn.Dense(4), collection_name="spectra"), VECTORS, update_stats=True
    )
    assert set(variables) == {"spectra", "params"}


def test_arguments_are_passed_on():
    for layer, call in (
        (nn.SpectralNorm(Linear()), {"update_stats": False}),
        (nn.WeightNorm(Linear()), {}),
    ):
        _, variables = run(layer, VECTORS, **call)
        once = layer.apply(variables, VECTORS, **call)
        near(layer.apply(variables, VECTORS, times=3.0, **call), 3 * once)


def test_dtypes_of_wrapped_parameters_and_of_statistics():
    _, variables = run(
        nn.SpectralNorm(nn.Dense(4), dtype=jnp.bfloat16, param_dtype=jnp.float16),
        VECTORS,
        update_stats=False,
    )
    assert variables["params"]["layer_instance"]["kernel"].dtype == jnp.bfloat16
    assert all(s.dtype == jnp.float16 for s in variables["batch_stats"].values())
    _, variables = run(
        nn.WeightNorm(nn.Dense(4), dtype=jnp.bfloat16, param_dtype=jnp.float16), VECTORS
    )
    assert variables["params"]["layer_instance"]["kernel"].dtype == jnp.bfloat16
    assert variables["params"]["layer_instance/kernel/scale"].dtype == jnp.float16


def test_weight_norm_makes_the_l2_norm_1_for_each_feature():
    _, variables = run(nn.WeightNorm(nn.Dense(4)), VECTORS)
    params = variables["params"]
    near(np.linalg.norm(params["layer_instance"]["kernel"], axis=0), 1)
    assert params["layer_instance/kernel/scale"].shape == (4,)
    # The trailing dimension holds the features; others can be named, or none.
    for axes, shape, others in ((0, (5,), 1), ((0, 1), (5, 4), ()), (None, (), (0, 1))):
        params = run(nn.WeightNorm(nn.Dense(4), feature_axes=axes), VECTORS)[1]["params"]
        assert params["layer_instance/kernel/scale"].shape == shape
        near(np.sqrt(np.sum(params["layer_instance"]["kernel"] ** 2, others)), 1)


def test_use_scale_and_scale_init_of_weight_norm():
    layer = nn.WeightNorm(nn.Dense(4), scale_init=nn.initializers.constant(3.0))
    params = run(layer, VECTORS)[1]["params"]
    near(np.linalg.norm(params["layer_instance"]["kernel"], axis=0), 3)
    params = run(nn.WeightNorm(nn.Dense(4), use_scale=False), VECTORS)[1]["params"]
    assert set(params) == {"layer_instance"}


def test_epsilon_keeps_weights_of_zero_from_dividing_by_zero():
    zeros = nn.initializers.zeros
    for layer, call in (
        (nn.WeightNorm(nn.Dense(4, kernel_init=zeros)), {}),
        (nn.SpectralNorm(nn.Dense(4, kernel_init=zeros)), {"update_stats": True}),
    ):
        y, _ = run(layer, VECTORS, **call)
        near(y, 0)


def test_weight_norm_s_filter_chooses_by_key_path():
    def chosen(**fields):
        params = run(nn.WeightNorm(nn.Dense(4), **fields), VECTORS)[1]["params"]
        return {name.split("/")[1] for name in params if "/" in name}

    assert chosen() == {"kernel"}
    assert chosen(variable_filter={"kernel"}) == {"kernel"}
    assert chosen(variable_filter=["bias"]) == {"bias"}
    assert chosen(variable_filter=("e/k", "bias")) == {"kernel", "bias"}
    assert chosen(variable_filter=None) == {"kernel", "bias"}
