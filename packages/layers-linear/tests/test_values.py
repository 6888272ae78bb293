"""Each layer's numbers against its formula, reimplemented as float64 NumPy loops."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
from comparing import placed, single
from linnet.layers_linear import functional, linen

rng = np.random.default_rng(11)


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-6)


# Dense.


def test_dense_is_a_sum_over_the_last_dimension():
    x, kernel, bias = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 5)), rng.normal(size=5)
    expected = np.zeros((2, 3, 5))
    for i, j, f in np.ndindex(2, 3, 5):
        expected[i, j, f] = sum(x[i, j, d] * kernel[d, f] for d in range(4)) + bias[f]
    near(functional.dense(*single(x, kernel, bias)), expected)


def test_dense_general_has_a_map_of_its_own_for_each_batch_index():
    x = rng.normal(size=(2, 3, 4, 5))  # batch, contracted, kept, contracted
    kernel, bias = rng.normal(size=(2, 3, 5, 6, 7)), rng.normal(size=(2, 6, 7))
    expected = np.zeros((2, 4, 6, 7))
    for b, n, f, g in np.ndindex(2, 4, 6, 7):
        terms = (x[b, i, n, j] * kernel[b, i, j, f, g] for i, j in np.ndindex(3, 5))
        expected[b, n, f, g] = sum(terms) + bias[b, f, g]
    ours = functional.dense_general(*single(x, kernel, bias), axis=(-1, 1), batch_dims=(0,))
    near(ours, expected)


# Convolutions: windows that are cut out of an explicitly padded array.


def padded(x, widths, mode):
    return np.pad(x, [(0, 0), *widths, (0, 0)], mode=mode)


def same_widths(size, kernel, stride, dilation):
    reach = (kernel - 1) * dilation
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2


def patches(x, kernel, strides, dilation):
    """[B, *positions, *kernel, D] from [B, *spatial, D]."""
    counts = [
        max((n - (k - 1) * d - 1) // s + 1, 0)
        for n, k, s, d in zip(x.shape[1:-1], kernel, strides, dilation, strict=True)
    ]
    found = np.zeros((x.shape[0], *counts, *kernel, x.shape[-1]))
    for position in np.ndindex(*counts):
        for offset in np.ndindex(*kernel):
            place = tuple(
                p * s + k * d
                for p, s, k, d in zip(position, strides, offset, dilation, strict=True)
            )
            found[(slice(None), *position, *offset)] = x[(slice(None), *place)]
    return found


def convolved(x, kernel, **geometry):
    window = kernel.shape[:-2]
    p = patches(x, window, **geometry)
    flat = p.reshape(*p.shape[: x.ndim - 1], -1)
    return flat @ kernel.reshape(-1, kernel.shape[-1])


@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("strides", [(1, 1), (1, 2)])
@pytest.mark.parametrize(
    "padding", ["SAME", "VALID", "CIRCULAR", "REFLECT", "REPLICATE", 2, ((0, 1), (2, 1))]
)
def test_conv(padding, strides, dilation):
    x, kernel, bias = (
        rng.normal(size=(2, 7, 6, 3)),
        rng.normal(size=(3, 2, 3, 4)),
        rng.normal(size=4),
    )
    reach = [(k - 1) * d for k, d in zip((3, 2), dilation, strict=True)]
    widths, mode = {
        "SAME": (
            [same_widths(*a) for a in zip((7, 6), (3, 2), strides, dilation, strict=True)],
            "constant",
        ),
        "VALID": ([(0, 0), (0, 0)], "constant"),
        "CIRCULAR": ([(r // 2, r - r // 2) for r in reach], "wrap"),
        "REFLECT": ([(r // 2, r - r // 2) for r in reach], "reflect"),
        "REPLICATE": ([(r // 2, r - r // 2) for r in reach], "edge"),
        2: ([(2, 2), (2, 2)], "constant"),
        ((0, 1), (2, 1)): ([(0, 1), (2, 1)], "constant"),
    }[padding]
    wide = padded(x, widths, mode)
    expected = convolved(wide, kernel, strides=strides, dilation=dilation) + bias
    ours = functional.conv(
        *single(x, kernel, bias), padding=padding, strides=strides, kernel_dilation=dilation
    )
    near(ours, expected)


def test_causal_conv_sees_no_future():
    x, kernel = rng.normal(size=(2, 8, 3)), rng.normal(size=(3, 3, 4))
    ours = functional.conv(*single(x, kernel), padding="CAUSAL", kernel_dilation=2)
    near(ours, convolved(padded(x, [(4, 0)], "constant"), kernel, strides=(1,), dilation=(2,)))
    changed = x.copy()
    changed[:, 5:] = 0.0
    early = functional.conv(*single(changed, kernel), padding="CAUSAL", kernel_dilation=2)
    np.testing.assert_array_equal(early[:, :5], ours[:, :5])


def test_input_dilation_places_zeros_between():
    x, kernel = rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 3, 4))
    spread = np.zeros((2, 10, 3))
    spread[:, ::3] = x
    expected = convolved(padded(spread, [(2, 1)], "constant"), kernel, strides=(1,), dilation=(1,))
    near(functional.conv(*single(x, kernel), padding=((2, 1),), input_dilation=3), expected)


def test_groups_do_not_see_each_other():
    x, kernel = rng.normal(size=(2, 6, 4)), rng.normal(size=(3, 2, 6))
    parts = [
        convolved(
            x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3], strides=(1,), dilation=(1,)
        )
        for g in range(2)
    ]
    ours = functional.conv(*single(x, kernel), padding="VALID", feature_group_count=2)
    near(ours, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("dtype", [np.float32, np.bool_])
def test_mask_switches_weights_off(dtype):
    x, kernel = single(rng.normal(size=(2, 6, 4)), rng.normal(size=(3, 4, 6)))
    mask = (rng.random((3, 4, 6)) > 0.5).astype(dtype)
    np.testing.assert_array_equal(
        functional.conv(x, kernel, mask=mask), functional.conv(x, kernel * mask)
    )


def test_any_number_of_batch_dimensions():
    x, kernel = single(rng.normal(size=(2, 3, 6, 4)), rng.normal(size=(3, 4, 5)))
    local = placed(rng.normal(size=(6, 12, 5)), jnp.float32)
    for layer in (
        lambda x: functional.conv(x, kernel, padding="CIRCULAR"),
        lambda x: functional.conv_transpose(x, kernel, strides=2),
        lambda x: functional.conv_local(x, local, kernel_size=3),
    ):
        whole = layer(x)
        assert whole.shape[:2] == (2, 3)
        for i, j in np.ndindex(2, 3):
            near(whole[i, j], layer(x[i, j]))
            near(whole[i, j], layer(x[i, j][None])[0])


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", ((1, 2),)])
def test_conv_local_has_a_kernel_for_each_position(padding):
    x = rng.normal(size=(2, 7, 3))
    widths, mode = {
        "SAME": ([same_widths(7, 3, 2, 1)], "constant"),
        "VALID": ([(0, 0)], "constant"),
        "CIRCULAR": ([(1, 1)], "wrap"),
        ((1, 2),): ([(1, 2)], "constant"),
    }[padding]
    found = patches(padded(x, widths, mode), (3,), (2,), (1,))  # [B, P, K, D]
    positions = found.shape[1]
    kernel, bias = rng.normal(size=(positions, 9, 4)), rng.normal(size=(positions, 4))
    by_feature = found.swapaxes(2, 3).reshape(2, positions, 9)
    expected = np.stack([by_feature[:, p] @ kernel[p] for p in range(positions)], 1) + bias
    ours = functional.conv_local(
        *single(x, kernel, bias), kernel_size=3, strides=2, padding=padding
    )
    near(ours, expected)
    assert linen.Conv(4, 3).shared_weights
    assert not linen.ConvLocal(4, 3).shared_weights


def scattered(x, kernel, strides):
    """Each input adds its multiple of the kernel at `stride` times its own position."""
    window = kernel.shape[:-2]
    size = [(n - 1) * s + k for n, s, k in zip(x.shape[1:-1], strides, window, strict=True)]
    y = np.zeros((x.shape[0], *size, kernel.shape[-1]))
    for place in np.ndindex(*x.shape[1:-1]):
        for offset in np.ndindex(*window):
            at = tuple(p * s + o for p, s, o in zip(place, strides, offset, strict=True))
            y[(slice(None), *at)] += x[(slice(None), *place)] @ kernel[offset]
    return y


def flipped(kernel):
    return kernel[tuple(slice(None, None, -1) for _ in kernel.shape[:-2])]


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_conv_transpose_scatters(strides):
    x, kernel, bias = (
        rng.normal(size=(2, 4, 3, 3)),
        rng.normal(size=(3, 4, 3, 5)),
        rng.normal(size=5),
    )
    # Without transpose_kernel the kernel is that of a cross-correlation: it is flipped.
    full = scattered(x, flipped(kernel), strides)
    ours = functional.conv_transpose(*single(x, kernel, bias), strides=strides, padding="VALID")
    rows, columns = full.shape[1:3]
    near(ours[:, :rows, :columns], full + bias)
    near(ours[:, rows:], np.broadcast_to(bias, ours[:, rows:].shape))  # a stride beyond the kernel


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_conv_transpose_in_groups(groups, transpose_kernel):
    x = rng.normal(size=(2, 5, 4, 4))
    features = (8 // groups, 4) if transpose_kernel else (4 // groups, 8)
    kernel = rng.normal(size=(3, 2, *features))
    expected = []
    for a, k in zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True):
        k = k.swapaxes(-1, -2) if transpose_kernel else flipped(k)
        expected.append(scattered(a, k, (2, 3)))
    ours = functional.conv_transpose(
        *single(x, kernel),
        strides=(2, 3),
        padding="VALID",
        transpose_kernel=transpose_kernel,
        feature_group_count=groups,
    )
    expected = np.concatenate(expected, -1)
    near(ours[:, : expected.shape[1], : expected.shape[2]], expected)


def test_conv_transpose_is_the_transpose_of_conv():
    x, y = rng.normal(size=(2, 9, 4)), rng.normal(size=(2, 3, 5))
    kernel = rng.normal(size=(3, 4, 5))
    forward = convolved(x, kernel, strides=(3,), dilation=(1,))  # [2, 3, 5]
    ours = functional.conv_transpose(
        *single(y, kernel), strides=3, padding="VALID", transpose_kernel=True
    )
    # ⟨A x, y⟩ = ⟨x, Aᵀ y⟩
    near(np.vdot(x, ours), np.vdot(forward, y))


@pytest.mark.parametrize(("n", "k", "s"), [(5, 6, 2), (4, 3, 1), (3, 9, 1), (4, 2, 3)])
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_circular_conv_transpose_wraps_around(n, k, s, transpose_kernel):
    """Shifting the input around the circle by one shifts the output by one stride."""
    x, kernel = rng.normal(size=(1, n, 2)), rng.normal(size=(k, 2, 2))
    options = {"strides": s, "padding": "CIRCULAR"}
    layer = lambda x: functional.conv_transpose(  # noqa: E731
        *single(x, kernel), transpose_kernel=transpose_kernel, **options
    )
    y = layer(x)
    assert y.shape == (1, n * s, 2)
    near(layer(np.roll(x, 1, axis=1)), np.roll(y, s, axis=1))
    # Nothing is lost: each input adds the whole kernel somewhere.
    axis = 2 if transpose_kernel else 1
    near(y.sum((0, 1)), np.tensordot(x.sum((0, 1)), kernel.sum(0), ([0], [axis - 1])))


# Einsum.


def test_einsum_is_a_sum_over_the_missing_letters():
    x, kernel, bias = (
        rng.normal(size=(2, 3, 4)),
        rng.normal(size=(4, 5, 6)),
        rng.normal(size=(6, 5)),
    )
    expected = np.zeros((6, 2, 5, 3))
    for c, b, h, t in np.ndindex(6, 2, 5, 3):
        expected[c, b, h, t] = sum(x[b, t, a] * kernel[a, h, c] for a in range(4)) + bias[c, h]
    near(functional.einsum("bta,ahc->cbht", *single(x, kernel, bias)), expected)


@pytest.mark.parametrize(
    ("equation", "inputs", "kernel", "bias"),
    [
        ("...a,ab->...b", (2, 3, 4), (4, 5), (5,)),
        ("...a,ab->b...", (2, 3, 4), (4, 5), (5,)),
        (" b t a , a c -> b t c ", (2, 3, 4), (4, 5), (5,)),
        ("bta,ac->bt", (2, 3, 4), (4, 5), ()),
        ("nta,nab->ntb", (2, 3, 4), (2, 4, 5), (2, 5)),
        ("ta,a...->t...", (3, 4), (4, 5, 6), (5, 6)),
        ("...a,...ab->...b", (7, 2, 4), (2, 4, 5), (2, 5)),
        ("ta,aa->ta", (3, 4), (4, 4), (4,)),
    ],
)
def test_einsum_s_bias_has_the_kernel_s_letters(equation, inputs, kernel, bias):
    shapes = functional.einsum_shapes(equation, inputs, kernel)
    assert shapes.bias == bias
    x, k, b = single(rng.normal(size=inputs), rng.normal(size=kernel), rng.normal(size=bias))
    plain = np.einsum("".join(equation.split()), np.float64(x), np.float64(k))
    y = functional.einsum(equation, x, k, b)
    near(y, plain + np.reshape(np.float64(b), shapes.bias_broadcast))


# Embed.


def test_embed_looks_rows_up():
    (table,) = single(rng.normal(size=(5, 3)))
    ids = np.array([[0, 4], [-1, -5]])
    np.testing.assert_array_equal(functional.embed(jnp.asarray(ids), table), np.asarray(table)[ids])
    outside = functional.embed(jnp.array([5, 100, -6]), table)
    assert np.isnan(outside).all()


def test_embed_with_one_row_broadcasts_it():
    (table,) = single(rng.normal(size=(1, 3)))
    y = functional.embed(jnp.array([[0, 7], [-2, 1]]), table)
    np.testing.assert_array_equal(y, np.broadcast_to(table, (2, 2, 3)))
    assert functional.embed(jnp.array(3), table).shape == (3,)


def test_attend_multiplies_with_each_row():
    query, table = rng.normal(size=(2, 4, 3)), rng.normal(size=(5, 3))
    expected = np.zeros((2, 4, 5))
    for i, j, n in np.ndindex(2, 4, 5):
        expected[i, j, n] = sum(query[i, j, d] * table[n, d] for d in range(3))
    near(functional.attend(*single(query, table)), expected)


# Pooling.


@pytest.mark.parametrize("padding", ["VALID", "SAME", 1, ((1, 0), (0, 1))])
@pytest.mark.parametrize("strides", [None, (2, 1)])
@pytest.mark.parametrize("name", ["max_pool", "min_pool", "avg_pool", "avg_pool without padding"])
def test_pool(name, strides, padding):
    x, window = rng.normal(size=(2, 5, 6, 3)), (3, 2)
    steps = strides or (1, 1)
    widths = {
        "VALID": [(0, 0), (0, 0)],
        "SAME": [same_widths(*a, 1) for a in zip((5, 6), window, steps, strict=True)],
        1: [(1, 1), (1, 1)],
    }.get(padding, padding)
    wide = np.pad(x, [(0, 0), *widths, (0, 0)], constant_values=np.nan)
    found = patches(wide, window, steps, (1, 1))  # [B, P, Q, 3, 2, D]
    axes = (3, 4)
    expected = {
        "max_pool": lambda: np.nanmax(found, axes),
        "min_pool": lambda: np.nanmin(found, axes),
        "avg_pool": lambda: np.nansum(found, axes) / 6,
        "avg_pool without padding": lambda: np.nanmean(found, axes),
    }[name]()
    options = {"count_include_pad": False} if name.endswith("padding") else {}
    pool = getattr(functional, name.split()[0])
    near(pool(*single(x), window, strides, padding, **options), expected)


def test_pool_of_any_reduction():
    x = rng.integers(1, 4, (1, 6, 2))
    ours = functional.pool(jnp.asarray(x), 1, jax.lax.mul, (3,), (2,), "VALID")
    near(ours, np.stack([x[:, i : i + 3].prod(1) for i in (0, 2)], 1))


@pytest.mark.parametrize("shape", [(6, 2), (2, 6, 2), (3, 2, 6, 2)])
def test_pool_with_any_number_of_batch_dimensions(shape):
    (x,) = single(rng.normal(size=shape))
    expected = np.maximum(x[..., :-1, :], x[..., 1:, :])
    np.testing.assert_array_equal(functional.max_pool(x, (2,)), expected)


def test_pooling_integers():
    x = jnp.array([3, -5, 2, 7]).reshape(1, 4, 1)
    assert functional.max_pool(x, (2,), (2,), "SAME").ravel().tolist() == [3, 7]
    assert functional.min_pool(x, (3,), (3,), "SAME").ravel().tolist() == [-5, 2]
    assert functional.avg_pool(x, (2,), (2,)).ravel().tolist() == [-1.0, 4.5]


# Dropout.


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate):
    x = jnp.full((400, 100), 3.0)
    y = np.asarray(functional.dropout(x, jax.random.key(0), rate))
    kept = y != 0.0
    np.testing.assert_allclose(y[kept], 3.0 / (1.0 - rate), rtol=1e-6)
    # 40000 coins: five standard deviations on either side.
    assert abs(kept.mean() - (1.0 - rate)) < 5 * np.sqrt(rate * (1 - rate) / 40_000)


@pytest.mark.parametrize("dims", [(0,), (1,), (0, 2), (-1,), ()])
def test_dropout_shares_coins_along_broadcast_dims(dims):
    x = jnp.ones((6, 5, 4))
    y = np.asarray(functional.dropout(x, jax.random.key(1), 0.5, broadcast_dims=dims))
    shared = {d % 3 for d in dims}
    for axis in range(3):
        constant = (y == y.take([0], axis)).all()
        assert constant == (axis in shared)


def test_dropout_at_the_ends():
    x = jnp.array([1.0, -2.0])
    assert functional.dropout(x, None, 0.0) is x
    np.testing.assert_array_equal(functional.dropout(x, None, 1.0), [0.0, 0.0])
    gradient = jax.grad(lambda x: functional.dropout(x, None, 1.0).sum())(x)
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


def test_dropout_s_gradient_is_its_mask():
    x, key = jnp.linspace(-1.0, 1.0, 50), jax.random.key(4)
    gradient = jax.grad(lambda x: functional.dropout(x, key, 0.25).sum())(x)
    np.testing.assert_allclose(gradient * x, functional.dropout(x, key, 0.25), rtol=1e-6)


# PReLU.


def test_prelu():
    x = rng.normal(size=(3, 4))
    near(functional.prelu(*single(x, 0.3)), np.where(x >= 0, x, 0.3 * x))


def test_prelu_with_a_slope_for_each_channel():
    x, slope = rng.normal(size=(3, 4)), rng.normal(size=4)
    near(functional.prelu(*single(x, slope)), np.where(x >= 0, x, slope * x))


# Types.


def test_precision_is_passed_on():
    x, kernel = jnp.ones((1, 4, 3)), jnp.ones((3, 3, 3))
    for layer in (
        lambda: functional.dense(x, kernel[0], precision="highest"),
        lambda: functional.dense_general(x, kernel[0], precision="highest"),
        lambda: functional.einsum("bta,ac->btc", x, kernel[0], precision="highest"),
        lambda: functional.conv(x, kernel, precision="highest"),
        lambda: functional.conv_transpose(x, kernel, precision="highest"),
        lambda: functional.conv_local(x, jnp.ones((4, 9, 3)), kernel_size=3, precision="highest"),
    ):
        assert "HIGHEST" in str(jax.make_jaxpr(layer)())


def test_overrides_are_called():
    calls = itertools.count()

    def dot(*args, **kwargs):
        next(calls)
        return jax.lax.dot_general(*args, **kwargs).astype(jnp.bfloat16)

    def convolve(*args, **kwargs):
        next(calls)
        return 2 * jax.lax.conv_general_dilated(*args, **kwargs)

    x, kernel, bias = jnp.ones((1, 4, 3)), jnp.ones((3, 3, 2)), jnp.ones(2)
    y = functional.dense(x, kernel[0], bias, dot_general=dot)
    assert y.dtype == jnp.float32  # bfloat16 + float32
    functional.dense_general(x, kernel[0], dot_general=dot)
    y = functional.conv(x, kernel, bias, padding="VALID", conv_general_dilated=convolve)
    np.testing.assert_array_equal(y, np.full((1, 2, 2), 19.0))
    assert next(calls) == 3


def test_inputs_need_be_no_jax_arrays():
    x = np.arange(8.0).reshape(1, 4, 2)
    kernel = np.ones((3, 2, 2), np.float32)
    for y in (
        functional.dense(x, kernel[0]),
        functional.conv(x, kernel),
        functional.conv_transpose(x, kernel),
        functional.max_pool(x, (2,)),
        functional.avg_pool(x, (2,), None, "SAME", False),
        functional.prelu(x, np.float32(0.1)),
        functional.dropout(x, jax.random.key(0), 0.5),
        functional.dense(x.tolist(), kernel[0]),
    ):
        assert isinstance(y, jax.Array)
        assert y.dtype == jnp.float32


# Feed-forward layers.


def erf(x):
    return np.vectorize(math.erf)(x)


GATES = {
    "GLU": (jax.nn.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "SwiGLU": (jax.nn.silu, lambda x: x / (1 + np.exp(-x))),
    "GeGLU": (
        functools.partial(jax.nn.gelu, approximate=False),
        lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    ),
    "ReGLU": (jax.nn.relu, lambda x: np.maximum(x, 0)),
    "bilinear": (lambda x: x, lambda x: x),
}


@pytest.mark.parametrize("name", GATES)
def test_gated_layers_are_the_paper_s_formulas(name):
    """(φ(xW + a) ⊙ (xV + b))W2 + c, with two kernels and with one."""
    activation, formula = GATES[name]
    x, w, v, w2 = (rng.normal(size=shape) for shape in ((3, 4), (4, 5), (4, 5), (5, 2)))
    a, b, c = (rng.normal(size=size) for size in (5, 5, 2))
    expected = (formula(x @ w + a) * (x @ v + b)) @ w2 + c
    params = {
        "gate": {"kernel": w, "bias": a},
        "up": {"kernel": v, "bias": b},
        "down": {"kernel": w2, "bias": c},
    }
    layer = linen.GLU(5, 2, activation, use_bias=True)
    inputs, params = jax.tree.map(jnp.float32, (x, params))
    near(layer.apply({"params": params}, inputs), expected)
    gate, up, down = (params.pop(part) for part in ("gate", "up", "down"))
    gate_up = jax.tree.map(lambda *halves: jnp.concatenate(halves, -1), gate, up)
    fused = layer.clone(fused=True)
    near(fused.apply({"params": {"gate_up": gate_up, "down": down}}, inputs), expected)


def test_an_mlp_is_affine_maps_with_activations_between_them():
    x, sizes = rng.normal(size=(2, 3, 4)), (4, 5, 6, 2)
    kernels = [rng.normal(size=shape) for shape in itertools.pairwise(sizes)]
    biases = [rng.normal(size=size) for size in sizes[1:]]
    expected = x
    for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        expected = (np.tanh(expected) if i else expected) @ kernel + bias
    params = {
        f"layers_{i}": {"kernel": kernel, "bias": bias}
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
    }
    inputs, params = jax.tree.map(jnp.float32, (x, params))
    layer = linen.MLP(sizes[1:-1], sizes[-1], jnp.tanh)
    near(layer.apply({"params": params}, inputs), expected)
