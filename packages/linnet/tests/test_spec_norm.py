"""The documentation of the normalization layers, sentence by sentence.

`EXAMPLES` are the documents' own, as written there, with `flax` read as `linnet`.
"""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linnet.linen as nn
from linnet.module_core import errors

KEY = jax.random.key(0)

EXAMPLES = {
    "BatchNorm": """
        >>> import linnet.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> BN = nn.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=jnp.float32)

        >>> x = jax.random.normal(jax.random.key(0), (5, 6))
        >>> variables = BN.init(jax.random.key(1), x, use_running_average=False)
        >>> jax.tree_util.tree_map(jnp.shape, variables)
        {'batch_stats': {'mean': (6,), 'var': (6,)}, 'params': {'bias': (6,), 'scale': (6,)}}

        >>> y, new_batch_stats = BN.apply(variables, x, mutable=['batch_stats'],
        ...                               use_running_average=False)

        >>> y = BN.apply(variables, x, mutable=['batch_stats'], use_running_average=True)
        """,
    "LayerNorm": """
        >>> import linnet.linen as nn
        >>> import jax
        >>> import numpy as np

        >>> x = jax.random.normal(jax.random.key(0), (3, 4, 5, 6))
        >>> layer = nn.LayerNorm()
        >>> variables = layer.init(jax.random.key(1), x)
        >>> variables
        {'params': {'scale': Array([1., 1., 1., 1., 1., 1.], dtype=float32),
         'bias': Array([0., 0., 0., 0., 0., 0.], dtype=float32)}}
        >>> y = layer.apply(variables, x)

        >>> y = nn.LayerNorm(reduction_axes=(1, 2, 3)).apply(variables, x)
        >>> y2 = nn.GroupNorm(num_groups=1).apply(variables, x)
        >>> np.testing.assert_allclose(y, y2)

        >>> y = nn.LayerNorm(reduction_axes=(1, 2), feature_axes=-1).apply(variables, x)
        >>> y2 = nn.InstanceNorm(feature_axes=-1).apply(variables, x)
        >>> np.testing.assert_allclose(y, y2)
        """,
    "GroupNorm": """
        >>> import linnet.linen as nn
        >>> import jax
        >>> import numpy as np

        >>> x = jax.random.normal(jax.random.key(0), (3, 4, 5, 6))
        >>> layer = nn.GroupNorm(num_groups=3)
        >>> variables = layer.init(jax.random.key(1), x)
        >>> variables
        {'params': {'scale': Array([1., 1., 1., 1., 1., 1.], dtype=float32),
         'bias': Array([0., 0., 0., 0., 0., 0.], dtype=float32)}}
        >>> y = layer.apply(variables, x)

        >>> y = nn.GroupNorm(num_groups=1).apply(variables, x)
        >>> y2 = nn.LayerNorm(reduction_axes=(1, 2, 3)).apply(variables, x)
        >>> np.testing.assert_allclose(y, y2)

        >>> y = nn.GroupNorm(num_groups=None, group_size=1).apply(variables, x)
        >>> y2 = nn.InstanceNorm(feature_axes=-1).apply(variables, x)
        >>> np.testing.assert_allclose(y, y2)
        """,
    "RMSNorm": """
        >>> import linnet.linen as nn
        >>> import jax

        >>> x = jax.random.normal(jax.random.key(0), (5, 6))
        >>> layer = nn.RMSNorm()
        >>> variables = layer.init(jax.random.key(1), x)
        >>> variables
        {'params': {'scale': Array([1., 1., 1., 1., 1., 1.], dtype=float32)}}
        >>> y = layer.apply(variables, x)
        """,
    "InstanceNorm": """
        >>> import linnet.linen as nn
        >>> import jax
        >>> import numpy as np

        >>> # dimensions: (batch, height, width, channel)
        >>> x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
        >>> layer = nn.InstanceNorm()
        >>> variables = layer.init(jax.random.key(1), x)
        >>> variables
        {'params': {'scale': Array([1., 1., 1., 1., 1.], dtype=float32),
         'bias': Array([0., 0., 0., 0., 0.], dtype=float32)}}
        >>> y = layer.apply(variables, x)

        >>> # having a channel_axis of -1 in InstanceNorm is identical to reducing all non-batch,
        >>> # non-channel axes and using the feature_axes as the feature_axes in LayerNorm
        >>> y2 = nn.LayerNorm(reduction_axes=[1, 2], feature_axes=-1).apply(variables, x)
        >>> np.testing.assert_allclose(y, y2, atol=1e-7)
        >>> y3 = nn.GroupNorm(num_groups=x.shape[-1]).apply(variables, x)
        >>> np.testing.assert_allclose(y, y3, atol=1e-7)
        """,
    "SpectralNorm": """
        >>> import linnet.linen as nn
        >>> from linnet.struct import freeze
        >>> import jax, jax.numpy as jnp

        >>> class Foo(nn.Module):
        ...   @nn.compact
        ...   def __call__(self, x, train):
        ...     x = nn.Dense(3)(x)
        ...     # only spectral normalize the params of the second Dense layer
        ...     x = nn.SpectralNorm(nn.Dense(4))(x, update_stats=train)
        ...     x = nn.Dense(5)(x)
        ...     return x

        >>> # init
        >>> x = jnp.ones((1, 2))
        >>> y = jnp.ones((1, 5))
        >>> model = Foo()
        >>> variables = model.init(jax.random.PRNGKey(0), x, train=False)
        >>> freeze(jax.tree_util.tree_map(jnp.shape, variables))
        FrozenDict({
            batch_stats: {
                SpectralNorm_0: {
                    Dense_1/kernel/sigma: (),
                    Dense_1/kernel/u: (1, 4),
                },
            },
            params: {
                Dense_0: {
                    bias: (3,),
                    kernel: (2, 3),
                },
                Dense_1: {
                    bias: (4,),
                    kernel: (3, 4),
                },
                Dense_2: {
                    bias: (5,),
                    kernel: (4, 5),
                },
            },
        })

        >>> # train
        >>> def train_step(variables, x, y):
        ...   def loss_fn(params):
        ...     logits, updates = model.apply(
        ...         {'params': params, 'batch_stats': variables['batch_stats']},
        ...         x,
        ...         train=True,
        ...         mutable=['batch_stats'],
        ...     )
        ...     loss = jnp.mean(l2_loss(predictions=logits, targets=y))
        ...     return loss, updates
        ...
        ...   (loss, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        ...       variables['params']
        ...   )
        ...   return {
        ...       'params': jax.tree_util.tree_map(
        ...           lambda p, g: p - 0.1 * g, variables['params'], grads
        ...       ),
        ...       'batch_stats': updates['batch_stats'],
        ...   }, loss
        >>> for _ in range(10):
        ...   variables, loss = train_step(variables, x, y)

        >>> # inference / eval
        >>> out = model.apply(variables, x, train=False)
        """,
    "WeightNorm": """
        >>> import linnet.linen as nn
        >>> from linnet.struct import freeze
        >>> import jax, jax.numpy as jnp

        >>> class Baz(nn.Module):
        ...   @nn.compact
        ...   def __call__(self, x):
        ...     return nn.Dense(2)(x)
        >>> class Bar(nn.Module):
        ...   @nn.compact
        ...   def __call__(self, x):
        ...     x = Baz()(x)
        ...     x = nn.Dense(3)(x)
        ...     x = Baz()(x)
        ...     x = nn.Dense(3)(x)
        ...     return x
        >>> class Foo(nn.Module):
        ...   @nn.compact
        ...   def __call__(self, x):
        ...     x = nn.Dense(3)(x)
        ...     # l2-normalize all params of the second Dense layer
        ...     x = nn.WeightNorm(nn.Dense(4), variable_filter=None)(x)
        ...     x = nn.Dense(5)(x)
        ...     # l2-normalize all kernels in the Bar submodule and all params in
        ...     # the Baz submodule
        ...     x = nn.WeightNorm(Bar(), variable_filter={'kernel', 'Baz'})(x)
        ...     return x

        >>> # init
        >>> x = jnp.ones((1, 2))
        >>> model = Foo()
        >>> variables = model.init(jax.random.key(0), x)
        >>> freeze(jax.tree_util.tree_map(jnp.shape, variables))
        FrozenDict({
            params: {
                Bar_0: {
                    Baz_0: {
                        Dense_0: {
                            bias: (2,),
                            kernel: (5, 2),
                        },
                    },
                    Baz_1: {
                        Dense_0: {
                            bias: (2,),
                            kernel: (3, 2),
                        },
                    },
                    Dense_0: {
                        bias: (3,),
                        kernel: (2, 3),
                    },
                    Dense_1: {
                        bias: (3,),
                        kernel: (2, 3),
                    },
                },
                Dense_0: {
                    bias: (3,),
                    kernel: (2, 3),
                },
                Dense_1: {
                    bias: (4,),
                    kernel: (3, 4),
                },
                Dense_2: {
                    bias: (5,),
                    kernel: (4, 5),
                },
                WeightNorm_0: {
                    Dense_1/bias/scale: (4,),
                    Dense_1/kernel/scale: (4,),
                },
                WeightNorm_1: {
                    Bar_0/Baz_0/Dense_0/bias/scale: (2,),
                    Bar_0/Baz_0/Dense_0/kernel/scale: (2,),
                    Bar_0/Baz_1/Dense_0/bias/scale: (2,),
                    Bar_0/Baz_1/Dense_0/kernel/scale: (2,),
                    Bar_0/Dense_0/kernel/scale: (3,),
                    Bar_0/Dense_1/kernel/scale: (3,),
                },
            },
        })
        """,
}


def l2_loss(predictions: Any, targets: Any) -> Any:
    """What the example takes from optax."""
    return 0.5 * (predictions - targets) ** 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_documents(name: str) -> None:
    names = {"l2_loss": l2_loss}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, 0)
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.failures == 0


# Signatures: names, order and defaults.

COMMON = {"dtype": None, "param_dtype": jnp.float32}
AFFINE = {"use_bias": True, "use_scale": True, "bias_init": "zeros", "scale_init": "ones"}
DEVICES = {
    "axis_name": None,
    "axis_index_groups": None,
    "use_fast_variance": True,
    "force_float32_reductions": True,
}
SIGNATURES: dict[str, dict[str, Any]] = {
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


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    parameters = inspect.signature(getattr(nn, name)).parameters
    assert [*parameters] == [*SIGNATURES[name], "parent", "name"]
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


# What they compute.

NORMS = {
    "BatchNorm": lambda **fields: nn.BatchNorm(use_running_average=False, **fields),
    "LayerNorm": nn.LayerNorm,
    "GroupNorm": lambda **fields: nn.GroupNorm(num_groups=2, **fields),
    "RMSNorm": nn.RMSNorm,
    "InstanceNorm": nn.InstanceNorm,
}
each_norm = pytest.mark.parametrize("make", NORMS.values(), ids=NORMS)
X = 3 + 2 * jax.random.normal(KEY, (5, 4, 6, 8))


def run(layer: nn.Module, x: Any = X, **call: Any) -> tuple[Any, Any]:
    """Output and variables of `init`."""
    return jax.jit(lambda x: layer.init_with_output(KEY, x, **call))(x)  # type: ignore[no-any-return]


def near(a: Any, b: Any, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def test_mean_near_0_and_standard_deviation_near_1() -> None:
    for layer, axes in (
        (nn.LayerNorm(), -1),
        (nn.InstanceNorm(), (1, 2)),
        (nn.BatchNorm(use_running_average=False), (0, 1, 2)),
    ):
        y, _ = run(layer)
        near(jnp.mean(y, axes), 0)
        near(jnp.std(y, axes), 1)


def test_layer_norm_takes_each_example_by_itself_and_batch_norm_does_not() -> None:
    alone, together = run(nn.LayerNorm(), X[:1])[0], run(nn.LayerNorm())[0][:1]
    near(alone, together)
    layer = nn.BatchNorm(use_running_average=False)
    assert abs(run(layer, X[:1])[0] - run(layer)[0][:1]).max() > 0.01


def test_rms_norm_does_not_center() -> None:
    y, _ = run(nn.RMSNorm())
    near(jnp.mean(y**2, -1), 1)
    assert (jnp.mean(y, -1) > 0.1).all()


@each_norm
def test_epsilon_is_added_to_the_variance(make: Any) -> None:
    x = jnp.broadcast_to(jnp.array([0.0, 2.0, -2.0, 0.0, 0.0, 2.0, -2.0, 0.0]), (4, 4, 8))
    x = x.at[:, ::2].multiply(-1).at[::2].multiply(-1)  # of mean zero along every axis
    small, large = run(make(epsilon=0.0), x)[0], run(make(epsilon=2.0), x)[0]
    assert (jnp.abs(large) <= jnp.abs(jnp.nan_to_num(small))).all()
    assert np.isfinite(large).all()


@each_norm
def test_the_result_s_dtype_is_inferred_or_given(make: Any) -> None:
    assert run(make())[0].dtype == jnp.float32
    half = X.astype(jnp.bfloat16)
    assert run(make(), half)[0].dtype == jnp.float32
    assert run(make(param_dtype=jnp.bfloat16), half)[0].dtype == jnp.bfloat16
    assert run(make(dtype=jnp.float16))[0].dtype == jnp.float16


@each_norm
def test_param_dtype_goes_to_the_initializers(make: Any) -> None:
    assert run(make())[1]["params"]["scale"].dtype == jnp.float32
    params = run(make(param_dtype=jnp.float16))[1]["params"]
    assert all(p.dtype == jnp.float16 for p in params.values())


@each_norm
def test_use_scale_use_bias_and_their_initializers(make: Any) -> None:
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
def test_the_slower_variance_is_the_same_but_for_rounding(make: Any) -> None:
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
def test_a_mask_says_where_mean_and_variance_are_computed(make: Any) -> None:
    mask = jnp.ones(X.shape, bool).at[:, 2:].set(False)
    y, _ = run(make(), mask=mask)
    assert y.shape == X.shape
    near(y[:, :2], run(make(), X[:, :2])[0])
    # Of any shape that broadcasts.
    near(run(make(), mask=mask[0, :, :1, :1])[0], y)
    other = X.at[:, 2:].set(1000.0)
    near(run(make(), other, mask=mask)[0][:, :2], y[:, :2])


@each_norm
def test_axis_name_combines_the_statistics_of_several_devices(make: Any) -> None:
    x = X.reshape(5, 4, 6, 8)
    variables = run(make(), x[0])[1]

    def device(x: Any, **fields: Any) -> Any:
        return make(axis_name="devices", **fields).apply(variables, x, mutable=["batch_stats"])[0]

    y = jax.jit(jax.vmap(device, axis_name="devices"))(x)
    # Statistics that are averaged over devices are those of what all of them hold.
    moved = jnp.moveaxis(x, 0, 1)  # [4, devices, 6, 8]
    if make is nn.LayerNorm:
        expected = run(nn.LayerNorm(reduction_axes=(1, 3)), moved)[0]
    elif make is nn.RMSNorm:
        expected = run(nn.RMSNorm(reduction_axes=(1, 3)), moved)[0]
    else:
        expected = run(make(), moved)[0]
    near(jnp.moveaxis(y, 0, 1), expected, atol=1e-4)


def test_axis_index_groups_normalize_examples_of_some_devices_together() -> None:
    """As in the documents: [[0, 1], [2, 3]]. `vmap` knows no groups: a program of four devices."""
    layer = nn.BatchNorm(
        use_running_average=False, axis_name="devices", axis_index_groups=[[0, 1], [2, 3]]
    )
    variables = run(nn.BatchNorm(use_running_average=False), X[0])[1]
    mesh = jax.sharding.AbstractMesh((4,), ("devices",))
    spec = jax.sharding.PartitionSpec("devices")
    shard_map = getattr(jax, "shard_map", None)
    if shard_map is None:
        from jax.experimental.shard_map import shard_map

    def device(x: Any) -> Any:
        return layer.apply(variables, x, mutable=["batch_stats"])[0]

    check = {"check_vma": False} if hasattr(jax, "shard_map") else {"check_rep": False}
    program = shard_map(device, mesh=mesh, in_specs=spec, out_specs=spec, **check)
    text = str(jax.make_jaxpr(program)(jax.ShapeDtypeStruct((4, 6, 8), jnp.float32)))
    assert "axis_index_groups=((0, 1), (2, 3))" in text.replace("[", "(").replace("]", ")")


# BatchNorm.


def test_batch_norm_s_feature_or_non_batch_axes() -> None:
    assert run(nn.BatchNorm(use_running_average=False))[1]["params"]["scale"].shape == (8,)
    layer = nn.BatchNorm(use_running_average=False, axis=1)
    y, variables = run(layer)
    assert variables["batch_stats"]["mean"].shape == (4,)
    near(jnp.mean(y, (0, 2, 3)), 0)


def test_momentum_is_the_decay_of_the_average() -> None:
    layer = nn.BatchNorm(use_running_average=False, momentum=0.9)
    variables = run(layer)[1]
    average = 0.0
    for i in range(3):
        _, updates = layer.apply(variables, X * i, mutable=["batch_stats"])
        variables = {**variables, **updates}
        average = 0.9 * average + 0.1 * jnp.mean(X * i, (0, 1, 2))
    near(variables["batch_stats"]["mean"], average)


def test_the_running_averages_are_used_instead_of_the_batch_s_statistics() -> None:
    layer = nn.BatchNorm(use_running_average=True)
    variables = run(layer)[1]
    near(layer.apply(variables, X), X / np.sqrt(1 + 1e-5))
    # They stay as they are, so the collection needn't be mutable.
    _, updates = layer.apply(variables, X, mutable=["batch_stats"])
    near(updates["batch_stats"]["mean"], 0)


def test_the_averages_are_not_updated_during_initialization() -> None:
    variables = run(nn.BatchNorm(use_running_average=False, axis_name="not there"))[1]
    near(variables["batch_stats"]["mean"], 0)
    near(variables["batch_stats"]["var"], 1)


def test_the_batch_s_statistics_are_used_in_training_only_with_a_mutable_collection() -> None:
    layer = nn.BatchNorm(use_running_average=False)
    with pytest.raises(errors.ModifyScopeVariableError, match="batch_stats"):
        layer.apply(run(layer)[1], X)


def test_one_collection_holds_the_averages_of_all_batch_norms() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.BatchNorm(use_running_average=False)(nn.Dense(3)(x))
            return nn.BatchNorm(use_running_average=False)(x)

    stats = run(Model())[1]["batch_stats"]
    assert {name: set(values) for name, values in stats.items()} == {
        "BatchNorm_0": {"mean", "var"},
        "BatchNorm_1": {"mean", "var"},
    }


# Layer, group and instance norm are one another's special cases.


def test_parameters_have_the_shape_of_the_feature_axes() -> None:
    for make in (nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm):
        params = run(make(feature_axes=(1, -1)))[1]["params"]
        assert all(p.shape == (4, 8) for p in params.values())


def test_group_norm_s_statistics_are_shared_by_groups_of_channels_not_by_the_batch() -> None:
    y, _ = run(nn.GroupNorm(num_groups=4))
    near(jnp.mean(y.reshape(5, 4, 6, 4, 2), (1, 2, 4)), 0)
    near(y[:1], run(nn.GroupNorm(num_groups=4), X[:1])[0])
    near(y, run(nn.GroupNorm(num_groups=None, group_size=2))[0])
    assert set(run(nn.GroupNorm(num_groups=4))[1]) == {"params"}  # no state


def test_either_the_number_or_the_size_of_groups() -> None:
    for fields in ({"group_size": 2}, {"num_groups": None}):
        with pytest.raises(ValueError, match="num_groups"):
            run(nn.GroupNorm(**fields))


def test_group_norm_s_reduction_axes_must_include_the_last() -> None:
    with pytest.raises(ValueError, match="last axis"):
        run(nn.GroupNorm(num_groups=2, reduction_axes=(1, 2)))


def test_given_reduction_axes_allow_more_leading_axes_than_at_init() -> None:
    layer = nn.GroupNorm(num_groups=2, reduction_axes=(-3, -2, -1))
    variables = run(layer, X[0])[1]
    near(layer.apply(variables, X)[0], layer.apply(variables, X[0]))


def test_instance_norm_reduces_all_but_the_batch_and_the_features() -> None:
    y, _ = run(nn.InstanceNorm(feature_axes=1))
    near(jnp.mean(y, (2, 3)), 0)
    near(jnp.std(y, (2, 3)), 1)


# Norms of weights.


class Linear(nn.Module):
    """Every kind of parameter: a scalar, a vector, a matrix, a tensor."""

    @nn.compact
    def __call__(self, x: Any, *, times: float = 1.0) -> Any:
        init = nn.initializers.normal()
        scalar = self.param("scalar", init, ())
        vector = self.param("vector", init, (4,))
        matrix = self.param("matrix", init, (x.shape[-1], 4))
        tensor = self.param("tensor", init, (2, x.shape[-1], 4))
        return times * (scalar + vector + x @ matrix + x @ tensor[0] + x @ tensor[1])


VECTORS = jax.random.normal(KEY, (3, 5))


def test_spectral_norm_makes_the_spectral_norm_1() -> None:
    layer = nn.SpectralNorm(Linear(), n_steps=60)
    _, variables = run(layer, VECTORS, update_stats=True)
    params = variables["params"]["layer_instance"]
    largest = np.linalg.svd(params["matrix"], compute_uv=False)[0]
    near(largest, 1, atol=1e-3)
    # By default scalars stay, and tensors of more dimensions are flattened but for the last.
    largest = np.linalg.svd(params["tensor"].reshape(-1, 4), compute_uv=False)[0]
    near(largest, 1, atol=1e-3)
    plain = run(Linear(), VECTORS)[1]["params"]
    assert plain["scalar"].shape == params["scalar"].shape
    names = {name.split("/")[1] for name in variables["batch_stats"]}
    assert names == {"matrix", "tensor"}


def test_error_on_non_matrix() -> None:
    with pytest.raises(ValueError, match="error_on_non_matrix"):
        run(nn.SpectralNorm(Linear(), error_on_non_matrix=True), VECTORS, update_stats=True)


def test_update_stats_updates_u_and_sigma_and_its_absence_is_deterministic() -> None:
    layer = nn.SpectralNorm(nn.Dense(4))
    _, variables = run(layer, VECTORS, update_stats=False)
    kernel = jax.random.normal(KEY, (5, 4))
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


def test_more_steps_come_closer_at_once() -> None:
    kernel = jax.random.normal(KEY, (5, 4))
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    errors = []
    for steps in (1, 8):
        layer = nn.SpectralNorm(nn.Dense(4), n_steps=steps)
        _, variables = run(layer, VECTORS, update_stats=False)
        variables["params"]["layer_instance"]["kernel"] = kernel
        _, updates = layer.apply(variables, VECTORS, update_stats=True, mutable=["batch_stats"])
        errors.append(abs(updates["batch_stats"]["layer_instance/kernel/sigma"] - largest))
    assert errors[1] < errors[0]


def test_the_collection_of_u_and_sigma_has_a_name() -> None:
    _, variables = run(
        nn.SpectralNorm(nn.Dense(4), collection_name="spectra"), VECTORS, update_stats=True
    )
    assert set(variables) == {"spectra", "params"}


def test_arguments_are_passed_on() -> None:
    for layer, call in (
        (nn.SpectralNorm(Linear()), {"update_stats": False}),
        (nn.WeightNorm(Linear()), {}),
    ):
        _, variables = run(layer, VECTORS, **call)
        once = layer.apply(variables, VECTORS, **call)
        near(layer.apply(variables, VECTORS, times=3.0, **call), 3 * once)


def test_dtypes_of_wrapped_parameters_and_of_what_is_kept_beside() -> None:
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


def test_weight_norm_makes_the_l2_norm_1_for_each_feature() -> None:
    _, variables = run(nn.WeightNorm(nn.Dense(4)), VECTORS)
    params = variables["params"]
    near(np.linalg.norm(params["layer_instance"]["kernel"], axis=0), 1)
    assert params["layer_instance/kernel/scale"].shape == (4,)
    # The trailing dimension holds the features; others can be named, or none.
    for axes, shape, others in ((0, (5,), 1), ((0, 1), (5, 4), ()), (None, (), (0, 1))):
        params = run(nn.WeightNorm(nn.Dense(4), feature_axes=axes), VECTORS)[1]["params"]
        assert params["layer_instance/kernel/scale"].shape == shape
        near(np.sqrt(np.sum(params["layer_instance"]["kernel"] ** 2, others)), 1)


def test_use_scale_and_scale_init_of_weight_norm() -> None:
    layer = nn.WeightNorm(nn.Dense(4), scale_init=nn.initializers.constant(3.0))
    params = run(layer, VECTORS)[1]["params"]
    near(np.linalg.norm(params["layer_instance"]["kernel"], axis=0), 3)
    params = run(nn.WeightNorm(nn.Dense(4), use_scale=False), VECTORS)[1]["params"]
    assert set(params) == {"layer_instance"}


def test_epsilon_keeps_weights_of_zero_from_dividing_by_zero() -> None:
    zeros = nn.initializers.zeros
    for layer, call in (
        (nn.WeightNorm(nn.Dense(4, kernel_init=zeros)), {}),
        (nn.SpectralNorm(nn.Dense(4, kernel_init=zeros)), {"update_stats": True}),
    ):
        y, _ = run(layer, VECTORS, **call)
        near(y, 0)


def test_weight_norm_s_filter_chooses_by_key_path() -> None:
    def chosen(**fields: Any) -> set[str]:
        params = run(nn.WeightNorm(nn.Dense(4), **fields), VECTORS)[1]["params"]
        return {name.split("/")[1] for name in params if "/" in name}

    assert chosen() == {"kernel"}
    assert chosen(variable_filter={"kernel"}) == {"kernel"}
    assert chosen(variable_filter=["bias"]) == {"bias"}
    assert chosen(variable_filter=("e/k", "bias")) == {"kernel", "bias"}
    assert chosen(variable_filter=None) == {"kernel", "bias"}
