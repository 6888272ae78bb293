"""Each norm's results against its formula, rewritten in NumPy with float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
from comparing import identical, placed, single
from linnet.layers_norm import functional, linen, nnx
from linnet.module_core.linen import Module, compact
from linnet.module_core.nnx import Rngs

from .layer_table import Linear

rng = np.random.default_rng(11)
KEY = jax.random.key(0)


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-6, scaled=True)


def run(function, *args, **options):
    """One compiled program instead of one for each operation."""
    return jax.jit(functools.partial(function, **options))(*args)


def normalized(x, axes, epsilon, where=True):
    """(x - μ) / √(σ² + ε), statistics over the chosen positions."""
    where = np.broadcast_to(where, x.shape)
    mean = x.mean(axes, keepdims=True, where=where)
    variance = (abs(x - mean) ** 2).mean(axes, keepdims=True, where=where)
    return (x - mean) / np.sqrt(variance + epsilon)


X = rng.normal(3, 2, (4, 5, 6, 8))
MASK = rng.random(X.shape) < 0.7


# Layer, RMS, group and instance norm.


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("mask", [None, MASK])
def test_layer_norm_is_the_paper_s_formula(fast, mask):
    scale, bias = rng.normal(size=8), rng.normal(size=8)
    expected = normalized(X, -1, 1e-6, True if mask is None else mask) * scale + bias
    ours = run(functional.layer_norm, *single(X, scale, bias), mask=mask, use_fast_variance=fast)
    near(ours, expected)


def test_layer_norm_over_any_axes_with_features_along_any_others():
    scale, bias = rng.normal(size=(5, 8)), rng.normal(size=(5, 8))
    expected = normalized(X, (0, 2), 1e-3) * scale[:, None, :] + bias[:, None, :]
    ours = run(
        functional.layer_norm,
        *single(X, scale, bias),
        reduction_axes=(-2, 0),
        feature_axes=(-1, 1),
        epsilon=1e-3,
    )
    near(ours, expected)


def test_no_reduced_axes_and_no_feature_axes():
    near(run(functional.layer_norm, *single(X), reduction_axes=()), np.zeros_like(X))
    scaled = run(functional.rms_norm, *single(X, 2.0), reduction_axes=(), feature_axes=())
    near(scaled, 2 * X / np.sqrt(X**2 + 1e-6))


@pytest.mark.parametrize("mask", [None, MASK])
def test_rms_norm_divides_by_the_root_mean_square(mask):
    scale = rng.normal(size=(6, 8))
    where = True if mask is None else mask
    square = (X**2).mean((2, 3), keepdims=True, where=np.broadcast_to(where, X.shape))
    expected = X / np.sqrt(square + 1e-6) * scale
    ours = run(
        functional.rms_norm,
        *single(X, scale),
        reduction_axes=(2, 3),
        feature_axes=(2, 3),
        mask=mask,
    )
    near(ours, expected)


def test_a_zero_centered_scale_is_added_to_one():
    x, scale = rng.normal(size=(3, 4)), rng.normal(size=4)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * (1 + scale)
    near(functional.rms_norm(*single(x, scale), zero_centered=True), expected)


def test_a_zero_centered_scale_begins_at_zero():
    x = jnp.full((1, 4), 96, jnp.bfloat16)
    layer = linen.RMSNorm(zero_centered=True, dtype=jnp.bfloat16)
    twin = nnx.RMSNorm(4, zero_centered=True, dtype=jnp.bfloat16, rngs=Rngs(0))
    params = layer.init(KEY, x)
    for scale in (params["params"]["scale"], twin.scale.get_value()):
        identical(scale, jnp.zeros(4))
    for y in (layer.apply(params, x), twin(x)):
        identical(y, jnp.ones((1, 4), jnp.bfloat16))


def test_a_zero_centered_scale_keeps_its_digits():
    """1 + 0.003 is 1 in bfloat16."""
    x, scale = jnp.full((1, 4), 96, jnp.bfloat16), jnp.full(4, 0.003, jnp.bfloat16)
    y = functional.rms_norm(x, scale, zero_centered=True, dtype=jnp.float32)
    near(y, np.full((1, 4), 1.003), rtol=1e-5)


@pytest.mark.parametrize("groups", [{"num_groups": 4}, {"num_groups": None, "group_size": 2}])
@pytest.mark.parametrize("mask", [None, MASK, MASK[..., :1], MASK[0, :, :, :1]])
def test_group_norm_normalizes_neighboring_channels_together(groups, mask):
    scale, bias = rng.normal(size=8), rng.normal(size=8)
    where = np.broadcast_to(True if mask is None else mask, X.shape)
    parts = [
        normalized(X[..., i : i + 2], (1, 2, 3), 1e-6, where[..., i : i + 2])
        for i in range(0, 8, 2)
    ]
    expected = np.concatenate(parts, -1) * scale + bias
    near(run(functional.group_norm, *single(X, scale, bias), mask=mask, **groups), expected)


def test_group_norm_over_chosen_axes():
    expected = np.concatenate([normalized(X[..., i : i + 4], (0, 3), 1e-6) for i in (0, 4)], -1)
    near(run(functional.group_norm, *single(X), num_groups=2, reduction_axes=(-1, 0)), expected)


def test_instance_norm_normalizes_each_channel_of_each_example():
    scale, bias = rng.normal(size=8), rng.normal(size=8)
    expected = normalized(X, (1, 2), 1e-6, MASK) * scale + bias
    near(run(functional.instance_norm, *single(X, scale, bias), mask=MASK), expected)
    expected = normalized(X, 2, 1e-6)
    near(run(functional.instance_norm, *single(X), feature_axes=(1, -1)), expected)


# Batch norm.


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("mask", [None, MASK, MASK[:, :, :, :1]])
def test_batch_norm_trains_with_the_batch_s_statistics_and_keeps_averages(fast, mask):
    layer = linen.BatchNorm(momentum=0.9, use_fast_variance=fast)
    variables = {
        "params": {"scale": jnp.full(8, 2.0), "bias": jnp.full(8, 1.0)},
        "batch_stats": {"mean": jnp.full(8, 0.5), "var": jnp.full(8, 4.0)},
    }
    where = np.broadcast_to(True if mask is None else mask, X.shape)
    y, updates = layer.apply(
        variables, *single(X), use_running_average=False, mask=mask, mutable=["batch_stats"]
    )
    near(y, 2 * normalized(X, (0, 1, 2), 1e-5, where) + 1)
    mean, var = X.mean((0, 1, 2), where=where), X.var((0, 1, 2), where=where)
    near(updates["batch_stats"]["mean"], 0.9 * 0.5 + 0.1 * mean)
    near(updates["batch_stats"]["var"], 0.9 * 4.0 + 0.1 * var)
    y = layer.apply({**variables, **updates}, *single(X), use_running_average=True, mask=mask)
    stats = jax.tree.map(np.float64, updates["batch_stats"])
    near(y, 2 * (X - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) + 1)


def test_batch_norm_along_several_axes():
    layer = linen.BatchNorm(use_running_average=False, axis=(-1, 1))
    y, variables = layer.init_with_output(KEY, *single(X))
    assert variables["params"]["scale"].shape == (5, 8)
    near(y, normalized(X, (0, 2), 1e-5))


def test_init_leaves_the_averages_as_they_begin():
    layer = linen.BatchNorm(use_running_average=False, axis_name="nowhere")
    variables = layer.init(KEY, *single(X))
    near(variables["batch_stats"]["mean"], np.zeros(8))
    near(variables["batch_stats"]["var"], np.ones(8))


def test_momentum_at_its_ends_and_traced():
    old, new = single([1.0, 2.0], [3.0, 5.0])
    near(functional.running_average(old, new, 0.0), new)
    near(functional.running_average(old, new, 1.0), old)
    traced = jax.jit(functional.running_average)(old, new, 0.25)
    near(traced, 0.25 * old + 0.75 * new)


def test_a_batch_that_is_all_padding_leaves_the_averages():
    layer = linen.BatchNorm(use_running_average=False)
    x = jnp.ones((3, 2)).at[:, 1].set(jnp.arange(3.0))
    variables = layer.init(KEY, x)
    mask = jnp.array([[False, True]] * 3)
    y, updates = layer.apply(variables, x, mask=mask, mutable=["batch_stats"])
    assert np.isfinite(y).all()
    near(updates["batch_stats"]["mean"], [0.0, 0.01])
    near(updates["batch_stats"]["var"], [1.0, 0.99 + 0.01 * 2 / 3])


def test_an_empty_batch_leaves_the_averages():
    layer = linen.BatchNorm(use_running_average=False)
    variables = layer.init(KEY, jnp.ones((3, 2)))
    y, updates = layer.apply(variables, jnp.ones((0, 2)), mutable=["batch_stats"])
    assert y.shape == (0, 2)
    near(updates["batch_stats"]["mean"], [0.0, 0.0])
    near(updates["batch_stats"]["var"], [1.0, 1.0])


def test_masks_of_numbers_and_of_fewer_dimensions():
    (x,) = single(X)
    expected = run(functional.layer_norm, x, mask=MASK[0])
    for mask in (MASK[0].astype(int), MASK[0].astype(float), jnp.asarray(MASK[0])[None]):
        np.testing.assert_array_equal(run(functional.layer_norm, x, mask=mask), expected)


@pytest.mark.parametrize(
    "norm",
    [
        functional.layer_norm,
        functional.rms_norm,
        functional.instance_norm,
        lambda x, mask: functional.group_norm(x, num_groups=2, mask=mask),
    ],
)
def test_an_example_that_is_all_padding_gives_numbers(norm):
    (x,) = single(X)
    mask = jnp.asarray(MASK).at[0].set(False)
    y, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(norm(x, mask=mask)))))(x)
    assert np.isfinite(y)
    assert np.isfinite(gradient).all()
    whole, others = jax.jit(lambda: (norm(x, mask=mask), norm(x[1:], mask=mask[1:])))()
    near(whole[1:], others)


# Over a named axis: the same numbers as for the whole.


def over_lanes(norm, *lanes, **options):
    def lane(*args):
        return norm(*args, axis_name="lanes", **options)

    return jax.jit(jax.vmap(lane, axis_name="lanes"))(*lanes)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("masked", [True, False])
def test_a_named_axis_counts_as_one_of_the_array(fast, dtype, masked):
    x = jnp.asarray(X, dtype) * (1 + 2j if dtype == jnp.complex64 else 1)
    mask = jnp.asarray(MASK)

    def norm(x, mask, **options):
        options["mask"] = mask if masked else None
        return functional.layer_norm(x, use_fast_variance=fast, **options)

    ours = over_lanes(norm, x, mask, reduction_axes=(0, 2))
    whole = run(functional.layer_norm, x, reduction_axes=(0, 1, 3), mask=mask if masked else None)
    near(ours, whole, atol=1e-5)


def test_every_norm_takes_a_named_axis():
    (x,) = single(X)
    near(over_lanes(functional.rms_norm, x), functional.rms_norm(x, reduction_axes=(0, 3)))
    # Both average over the lanes, the spatial positions, and one channel or a pair of channels.
    lanes = over_lanes(functional.instance_norm, x)
    near(lanes, functional.layer_norm(x, reduction_axes=(0, 2)), atol=1e-5)
    lanes = over_lanes(functional.group_norm, x, num_groups=4)
    whole = run(functional.group_norm, x, num_groups=4, reduction_axes=(0, 2, 3))
    near(lanes, whole, atol=1e-5)


def test_batch_norm_over_devices_weighs_them_by_what_their_masks_leave():
    layer = linen.BatchNorm(use_running_average=False, axis_name="lanes")
    variables = layer.init(KEY, jnp.ones((1, 8)))
    x, mask = jnp.asarray(X, jnp.float32), jnp.asarray(MASK).at[0, 1:].set(False)

    def step(x, mask):
        return layer.apply(variables, x, mask=mask, mutable=["batch_stats"])

    y, updates = jax.jit(jax.vmap(step, axis_name="lanes"))(x, mask)
    near(y, normalized(X, (0, 1, 2), 1e-5, mask), atol=1e-5)
    mean = X.mean((0, 1, 2), where=np.asarray(mask))
    near(updates["batch_stats"]["mean"], np.tile(0.01 * mean, (4, 1)))


def test_init_outside_the_mapping_needs_no_named_axis():
    layers = (
        linen.LayerNorm(axis_name="lanes"),
        linen.RMSNorm(axis_name="lanes"),
        linen.GroupNorm(num_groups=2, axis_name="lanes"),
        linen.InstanceNorm(axis_name="lanes"),
    )
    for layer in layers:
        shapes = jax.eval_shape(lambda layer=layer: layer.init(KEY, jnp.ones((2, 3, 4))))
        assert shapes["params"]["scale"].shape == (4,)


# Numbers that are hard to handle.


def test_statistics_of_half_precision_are_taken_in_float32():
    x = placed(rng.normal(300, 1, (2, 4096)), jnp.float16)  # squares sum to 3.7e8
    expected = normalized(np.float64(x), -1, 1e-6)
    ours = run(functional.layer_norm, x, use_fast_variance=False)
    assert ours.dtype == jnp.float16
    np.testing.assert_allclose(np.float64(ours), expected, rtol=2e-3, atol=2e-3)
    # In float16, a square above 65504 is infinite.
    narrow = run(functional.layer_norm, x, force_float32_reductions=False)
    assert not np.isclose(np.float64(narrow), expected, atol=0.1).all()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
def test_constant_inputs_give_zeros_and_finite_gradients(fast, dtype):
    def norm(x):
        return functional.layer_norm(x, use_fast_variance=fast)

    @jax.jit
    def both(x):
        y, pullback = jax.vjp(norm, x)
        return y, pullback(jnp.ones_like(y))[0]

    # All sums of 1000 and its square are exact; those of 1000.1 are not.
    y, gradient = both(jnp.full((3, 128), 1000, dtype))
    near(np.complex64(y), np.zeros((3, 128)), atol=0)
    near(np.complex64(gradient), np.zeros((3, 128)), atol=0)
    y, gradient = both(jnp.full((3, 129), 1000.1, dtype))
    assert np.abs(np.complex64(y)).max() <= 1
    assert np.isfinite(np.complex64(gradient)).all()


@pytest.mark.parametrize(
    "norm", [functional.rms_norm, lambda x: functional.weight_norm(x, feature_axes=0)]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_zeros_stay_zeros_with_finite_gradients(norm, dtype):
    x = jnp.zeros((3, 5), dtype)

    @jax.jit
    def both(x):
        y, pullback = jax.vjp(norm, x)
        # 1/√ε is 1e6 for norms of weights, so float16 overflows unless the cotangent is small.
        return y, pullback(jnp.full_like(y, 0.01))[0]

    y, gradient = both(x)
    near(np.float32(y), np.zeros((3, 5)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6])
def test_the_variance_is_never_negative(offset):
    x = jnp.asarray(offset + rng.normal(0, 1e-3, (64, 33)), jnp.float32)
    moments = functional.batch_moments(x)
    assert (moments.variance >= 0).all()
    assert np.isfinite(functional.layer_norm(x)).all()


def test_the_slow_variance_keeps_its_digits_far_from_zero():
    x = 5000 + rng.normal(size=(16, 64)).astype(np.float32).astype(np.float64)
    x = np.float64(np.float32(x))
    expected = normalized(x, -1, 1e-6)
    # The mean rounds to ±1/4096 (half a unit in the last place at 5000), and each of the partial
    # sums of 64 may do so, too, in an order that differs from machine to machine.
    near(run(functional.layer_norm, *single(x), use_fast_variance=False), expected, atol=4 / 2048)
    assert abs(functional.layer_norm(*single(x)) - expected).max() > 1e-2


def test_complex_numbers_have_a_real_variance():
    z = X + 1j * rng.normal(1, 3, X.shape)
    scale = rng.normal(size=8) + 1j * rng.normal(size=8)
    expected = normalized(z, -1, 1e-6) * scale
    near(run(functional.layer_norm, jnp.asarray(z, jnp.complex64), jnp.asarray(scale)), expected)
    square = (abs(z) ** 2).mean(-1, keepdims=True)
    near(run(functional.rms_norm, jnp.asarray(z, jnp.complex64)), z / np.sqrt(square + 1e-6))
    mean, variance, _ = functional.batch_moments(jnp.asarray(z, jnp.complex64))
    near(mean, z.mean((0, 1, 2)))
    near(variance, z.var((0, 1, 2)))
    assert variance.dtype == jnp.float32


def test_integers_become_float32():
    x = np.arange(12).reshape(3, 4)
    y = run(functional.layer_norm, jnp.asarray(x))
    assert y.dtype == jnp.float32
    near(y, normalized(x, -1, 1e-6))


def test_dtypes_of_input_parameters_and_result():
    (x,) = single(X)
    half = x.astype(jnp.bfloat16)
    scale = jnp.ones(8)

    def dtype_of(*args, **options):
        return jax.eval_shape(lambda: functional.layer_norm(*args, **options)).dtype

    assert dtype_of(half) == jnp.bfloat16
    assert dtype_of(half, scale) == jnp.float32
    assert dtype_of(half, scale, dtype=jnp.bfloat16) == jnp.bfloat16
    assert dtype_of(x, scale, dtype=jnp.float16) == jnp.float16
    with jax.numpy_dtype_promotion("strict"):
        # Statistics in float32 do not count as a promotion.
        assert dtype_of(half, scale.astype(half.dtype)) == jnp.bfloat16
        assert dtype_of(half, scale, dtype=jnp.bfloat16) == jnp.bfloat16


def test_averages_are_kept_in_float32_unless_told_otherwise():
    def stats(**fields):
        layer = linen.BatchNorm(use_running_average=False, param_dtype=jnp.bfloat16, **fields)
        (x,) = single(X)

        def states():
            variables = layer.init(KEY, x.astype(jnp.bfloat16))
            _, updates = layer.apply(variables, x.astype(jnp.bfloat16), mutable=["batch_stats"])
            return variables["batch_stats"], updates

        return jax.tree.leaves(jax.eval_shape(states))

    assert all(s.dtype == jnp.float32 for s in stats())
    assert all(s.dtype == jnp.bfloat16 for s in stats(force_float32_reductions=False))


# Norms of weights.


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (2, 3, 5), (1, 7)])
@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_spectral_norm_finds_the_largest_singular_value(shape, kind):
    kernel = rng.normal(size=shape)
    if kind == np.complex64:
        kernel = kernel + 1j * rng.normal(size=shape)
    steps = jax.jit(lambda w, u: functional.spectral_norm(w, u, n_steps=3))
    u = placed(rng.normal(size=(1, shape[-1])), jnp.float32)
    for _ in range(100):
        normed = steps(jnp.asarray(kernel, kind), u)
        u = normed.u
    largest = np.linalg.svd(kernel.reshape(-1, shape[-1]), compute_uv=False)[0]
    near(normed.sigma, largest, rtol=1e-4)
    near(normed.kernel, kernel / largest, rtol=1e-3, atol=1e-4)
    near(np.linalg.norm(normed.u), 1.0)
    assert normed.sigma.dtype == jnp.float32


def test_each_call_to_spectral_norm_continues_where_the_last_one_ended():
    layer = linen.SpectralNorm(Linear(5))
    x = placed(rng.normal(size=(2, 4)), jnp.float32)
    variables = jax.jit(lambda: layer.init(KEY, x, update_stats=False))()
    kernel = placed(rng.normal(size=(4, 5)), jnp.float32)
    variables["params"]["layer_instance"]["kernel"] = kernel
    largest = np.linalg.svd(kernel, compute_uv=False)[0]

    @jax.jit
    def step(state):
        return layer.apply({**variables, **state}, x, update_stats=True, mutable=["batch_stats"])

    state = {"batch_stats": variables["batch_stats"]}
    errors = []
    for _ in range(40):
        _, state = step(state)
        errors.append(abs(state["batch_stats"]["layer_instance/kernel/sigma"] - largest))
    assert errors[0] > 10 * errors[-1]
    assert errors[-1] < 1e-2
    # Evaluation: nothing to store, the same output for the same input.
    evaluate = jax.jit(lambda v: layer.apply(v, x, update_stats=False))
    frozen = [evaluate({**variables, **state}) for _ in range(2)]
    np.testing.assert_array_equal(*frozen)


def test_init_of_spectral_norm_stores_normalized_kernels():
    layer = linen.SpectralNorm(Linear(5), n_steps=20)
    variables = jax.jit(lambda: layer.init(KEY, jnp.ones((2, 4)), update_stats=True))()
    params = variables["params"]["layer_instance"]
    for name in ("kernel", "kernel_2"):
        largest = np.linalg.svd(params[name].reshape(-1, 5), compute_uv=False)[0]
        near(largest, 1.0, rtol=0.02)


def test_spectral_norm_leaves_a_kernel_of_zeros():
    def first(kernel):
        return functional.spectral_norm(kernel, jnp.ones((1, 5))).kernel

    y, pullback = jax.vjp(first, jnp.zeros((3, 5)))
    near(y, np.zeros((3, 5)))
    assert np.isfinite(pullback(jnp.ones_like(y))[0]).all()


def test_zero_steps_leave_the_layer_as_it_is():
    x = jnp.ones((2, 4))
    plain = Linear(5).init_with_output(KEY, x)[0]
    layer = linen.SpectralNorm(Linear(5), n_steps=0)
    variables = layer.init(KEY, x, update_stats=True)
    assert set(variables) == {"params"}
    assert layer.apply(variables, x, update_stats=True).shape == plain.shape


@pytest.mark.parametrize("kind", [np.float32, np.complex64])
@pytest.mark.parametrize(
    ("feature_axes", "others"), [(-1, (0, 1)), ((0, -1), 1), (None, (0, 1, 2)), ((0, 1, 2), ())]
)
def test_weight_norm_separates_length_and_direction(feature_axes, others, kind):
    kernel = rng.normal(size=(3, 4, 5))
    if kind == np.complex64:
        kernel = kernel + 1j * rng.normal(size=kernel.shape)
    length = np.sqrt((abs(kernel) ** 2).sum(others, keepdims=True))
    scale = rng.normal(size=length.squeeze().shape)
    expected = kernel / length * scale.reshape(length.shape)
    ours = run(
        functional.weight_norm,
        jnp.asarray(kernel, kind),
        jnp.asarray(scale, jnp.float32),
        feature_axes=feature_axes,
    )
    near(ours, expected)
    near(
        functional.weight_norm(jnp.asarray(kernel, kind), feature_axes=feature_axes),
        kernel / length,
    )


class Stack(Module):
    """Two wrapped layers next to a plain one."""

    @compact
    def __call__(self, x, train=False):
        x = linen.SpectralNorm(Linear(3))(x, update_stats=train)
        x = linen.WeightNorm(Linear(3), variable_filter={"kernel_2"})(x)
        return Linear(2)(x)


def test_a_layer_wrapped_where_it_is_made_keeps_its_place():
    shapes = jax.eval_shape(lambda: Stack().init(KEY, jnp.ones((2, 4))))
    shapes = jax.tree.map(lambda s: s.shape, shapes)
    assert set(shapes["params"]) == {"Linear_0", "Linear_1", "Linear_2", "WeightNorm_0"}
    assert shapes["params"]["WeightNorm_0"] == {"Linear_1/kernel_2/scale": (3,)}
    assert set(shapes["batch_stats"]["SpectralNorm_0"]) == {
        "Linear_0/kernel/u",
        "Linear_0/kernel/sigma",
        "Linear_0/kernel_2/u",
        "Linear_0/kernel_2/sigma",
    }


def test_a_wrapped_layer_s_own_state_is_kept():
    class Inner(Module):
        @compact
        def __call__(self, x):
            return linen.BatchNorm(use_running_average=False)(Linear(3)(x))

    x = placed(rng.normal(size=(8, 4)), jnp.float32)
    for layer, call in (
        (linen.SpectralNorm(Inner()), {"update_stats": True}),
        (linen.WeightNorm(Inner(), variable_filter=None), {}),
    ):

        @jax.jit
        def step(layer=layer, call=call):
            variables = layer.init(KEY, x, **call)
            return layer.apply(variables, x, mutable=["batch_stats"], **call)[1]

        updates = step()
        mean = updates["batch_stats"]["layer_instance"]["BatchNorm_0"]["mean"]
        assert (mean != 0).all()


def test_weight_norm_chooses_by_path():
    def scales(variable_filter):
        layer = linen.WeightNorm(Linear(5), variable_filter=variable_filter)
        params = jax.eval_shape(lambda: layer.init(KEY, jnp.ones((2, 4))))["params"]
        return {name for name in params if name.endswith("/scale")}

    every = {f"layer_instance/{name}/scale" for name in ("kernel", "kernel_2", "bias")}
    assert scales(None) == every
    assert scales([]) == every
    assert scales({"instance/b"}) == {"layer_instance/bias/scale"}
    assert scales(["kernel_2", "bias"]) == every - {"layer_instance/kernel/scale"}
    assert scales({"nothing"}) == set()
    assert scales(linen.WeightNorm(Linear(5)).variable_filter) == every - {
        "layer_instance/bias/scale"
    }
