"""Properties of single nnx layers: running averages, modes, weights in place, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_norm import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError
from linnet.module_core.nnx import BatchStat, Module, Param, Rngs, state, to_flat_state

from .nnx_layer_table import Linear

X = np.random.default_rng(0).normal(2, 3, (6, 4)).astype(np.float32)


def test_batch_norm_s_averages_follow_while_training_and_stay_afterwards():
    layer = nnx.BatchNorm(4, momentum=0.75, rngs=Rngs(0))
    y = layer(X)
    expected = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    mean, var = 0.25 * X.mean(0), 0.75 + 0.25 * X.var(0)
    np.testing.assert_allclose(layer.mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(layer.var[...], var, rtol=1e-5)
    layer.eval()
    assert layer.use_running_average is True
    np.testing.assert_allclose(layer(X), (X - mean) / np.sqrt(var + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(layer.mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(layer(X, use_running_average=False), expected, rtol=1e-4, atol=1e-5)
    layer.train()
    assert layer.use_running_average is False


def test_averages_hold_no_tracer_of_a_gradient_and_get_none():
    layer = nnx.BatchNorm(4, rngs=Rngs(0))

    def loss(x):
        new = nnx.BatchNorm(4, rngs=Rngs(0))
        y = new(x)
        return jnp.sum(new.mean[...] + new.var[...]) + 0 * jnp.sum(y)

    assert not np.any(jax.grad(loss)(jnp.asarray(X)))
    layer(jnp.asarray(X, jnp.bfloat16))
    assert layer.mean.dtype == jnp.float32


def test_a_batch_of_nothing_leaves_the_averages():
    layer = nnx.BatchNorm(4, rngs=Rngs(0))
    layer(X, mask=np.zeros((6, 1), bool))
    assert not np.any(layer.mean[...])
    np.testing.assert_array_equal(layer.var[...], np.ones(4))


def test_set_view_sets_what_is_given():
    layer = nnx.BatchNorm(4, rngs=Rngs(0))
    layer.set_view()
    assert layer.use_running_average is False
    layer.set_view(use_running_average=True)
    assert layer.use_running_average is True


def test_batch_norm_over_a_mapped_axis_is_one_over_all():
    layer = nnx.BatchNorm(4, axis_name="batch", rngs=Rngs(0))
    whole = nnx.BatchNorm(4, rngs=Rngs(0))

    def one(x):
        new = nnx.BatchNorm(4, axis_name="batch", rngs=Rngs(0))
        return new(x), new.mean[...]

    y, mean = jax.vmap(one, axis_name="batch")(X.reshape(3, 2, 4))
    np.testing.assert_allclose(y.reshape(6, 4), whole(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean[1], whole.mean[...], rtol=1e-5)
    with pytest.raises(ArgumentError, match="BatchNorm: axis_name='batch' is not the name"):
        layer(X)


def test_metadata_goes_to_the_parameters():
    layer = nnx.LayerNorm(4, scale_metadata={"unit": "V"}, bias_metadata={"a": 1}, rngs=Rngs(0))
    assert layer.scale.unit == "V"
    assert layer.bias.a == 1


def test_promotion_is_the_user_s():
    seen = []

    def promote(arrays, *, dtype):
        seen.append([None if a is None else a.dtype.name for a in arrays])
        return tuple(None if a is None else a.astype(jnp.float32) for a in arrays)

    layer = nnx.LayerNorm(4, use_bias=False, promote_dtype=promote, rngs=Rngs(0))
    assert layer(jnp.asarray(X, jnp.bfloat16)).dtype == jnp.float32
    assert seen == [["bfloat16", "float32", None]]


def test_spectral_norm_finds_the_singular_value_step_by_step():
    inner = Linear(Rngs(0))
    kernel = np.asarray(inner.kernel[...])
    layer = nnx.SpectralNorm(inner, rngs=Rngs(1))
    for _ in range(60):  # the kernel is replaced by the quotient, whose singular value becomes 1
        y = layer(X)
    np.testing.assert_allclose(np.linalg.norm(inner.kernel[...], 2), 1, rtol=1e-4)
    np.testing.assert_allclose(layer.batch_stats["kernel", "sigma"][...], 1, rtol=1e-4)
    np.testing.assert_allclose(inner.kernel[...], kernel / np.linalg.norm(kernel, 2), rtol=1e-3)
    np.testing.assert_allclose(y, Linear.__call__(inner, X), rtol=1e-5)
    layer.eval()
    u = np.asarray(layer.batch_stats["kernel", "u"][...])
    layer(2 * X)
    np.testing.assert_array_equal(layer.batch_stats["kernel", "u"][...], u)


def test_spectral_norm_s_sizes_are_those_of_the_stored_parameters():
    inner = Linear(Rngs(0))
    inner.kernel[...] = inner.kernel[...].astype(jnp.bfloat16)
    layer = nnx.SpectralNorm(inner, dtype=jnp.float16, rngs=Rngs(0))
    layer(X)
    assert inner.kernel.dtype == jnp.bfloat16
    assert inner.kernel_2.dtype == jnp.float32
    assert set(map(type, layer.batch_stats.values())) == {BatchStat}
    assert nnx.SpectralNorm(inner, n_steps=0, rngs=Rngs(0)).batch_stats == {}


def test_weight_norm_is_length_and_direction():
    inner = Linear(Rngs(0))
    kernel = np.asarray(inner.kernel[...])
    layer = nnx.WeightNorm(inner, rngs=Rngs(1))
    assert layer.scales is not None
    layer.scales["kernel",] = Param(jnp.arange(1.0, 6.0))
    layer(X)
    expected = kernel / np.linalg.norm(kernel, axis=0) * np.arange(1, 6)
    np.testing.assert_allclose(inner.kernel[...], expected, rtol=1e-5)
    assert ("scales", ("kernel",)) in dict(to_flat_state(state(layer, Param)))


def test_weight_norm_s_scales_may_be_drawn():
    init = jax.nn.initializers.normal()
    layer = nnx.WeightNorm(Linear(Rngs(0)), scale_init=init, rngs=Rngs(1))
    assert layer.scales is not None
    key = Rngs(1).params()
    np.testing.assert_array_equal(layer.scales["kernel",], init(key, (5,), jnp.float32))


class Late(Module):
    def __init__(self):
        self.kernel = Param(jnp.ones((4, 5)))

    def __call__(self, x):
        return x


def late(wrapper):
    inner = Late()
    chosen = {"variable_filter": Param} if wrapper is nnx.WeightNorm else {}
    layer = wrapper(inner, rngs=Rngs(0), **chosen)
    inner.more = Param(jnp.ones((4, 5)))
    return layer(X)


MISTAKES = [
    (
        lambda: nnx.BatchNorm(4, use_running_average=None, rngs=Rngs(0))(X),
        ArgumentError,
        r"BatchNorm: use_running_average is None in both the layer and its call",
    ),
    (
        lambda: nnx.BatchNorm(5, rngs=Rngs(0))(X),
        ShapeError,
        r"BatchNorm: mean has shape \(5,\), expected \(4,\) for inputs of shape \(6, 4\)",
    ),
    (
        lambda: nnx.LayerNorm(5, rngs=Rngs(0))(X),
        ShapeError,
        r"LayerNorm: scale has shape \(5,\), expected \(4,\)",
    ),
    (
        lambda: nnx.RMSNorm(4.0, rngs=Rngs(0)),
        ArgumentTypeError,
        r"RMSNorm: 'num_features' must be an integer, got 4.0",
    ),
    (
        lambda: nnx.LayerNorm(4, rngs=None),
        ArgumentTypeError,
        r"LayerNorm: LayerNorm draws its parameters from rngs=nnx.Rngs\(...\), got None",
    ),
    (
        lambda: nnx.BatchNorm(4, momentum=9, rngs=Rngs(0)),
        ArgumentError,
        r"BatchNorm: 'momentum' must be within \[0, 1\], got 9",
    ),
    (
        lambda: nnx.GroupNorm(5, num_groups=2, rngs=Rngs(0)),
        ArgumentError,
        r"GroupNorm: The inputs' 5 channels cannot be split into num_groups=2",
    ),
    (
        lambda: nnx.GroupNorm(8, group_size=2, rngs=Rngs(0)),
        ArgumentError,
        r"GroupNorm: Exactly one of num_groups and group_size must be given",
    ),
    (
        lambda: nnx.InstanceNorm(6, feature_axes=0, rngs=Rngs(0))(X),
        ArgumentError,
        r"InstanceNorm: feature_axes=0 contains the leading axis",
    ),
    (
        lambda: nnx.SpectralNorm(Linear, rngs=Rngs(0)),
        ArgumentTypeError,
        r"SpectralNorm: 'layer_instance' must be a module, .*\n  Wrap an instance",
    ),
    (
        lambda: nnx.SpectralNorm(Linear(Rngs(0)), error_on_non_matrix=True, rngs=Rngs(0)),
        ShapeError,
        r"SpectralNorm: kernel has shape \(2, 4, 5\), 3 dimensions, expected a matrix",
    ),
    (
        lambda: late(nnx.SpectralNorm),
        ArgumentError,
        r"SpectralNorm: The layer has a parameter 'more'",
    ),
    (lambda: late(nnx.WeightNorm), ArgumentError, r"WeightNorm: The layer has a variable 'more'"),
]


@pytest.mark.parametrize(
    ("mistake", "error", "message"), MISTAKES, ids=lambda m: m[:40] if isinstance(m, str) else ""
)
def test_errors_begin_with_the_layer_s_name(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()
