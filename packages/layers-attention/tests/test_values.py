"""Attention against its formula, written again in float64 NumPy loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
from comparing import placed, single
from linnet.layers_attention import functional, linen

rng = np.random.default_rng(11)


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def attention(query, key, value, bias=None, mask=None):
    """Weights and output, query by query, seeing only what the mask allows."""
    *batch, queries, heads, depth = query.shape
    keys, key_heads = key.shape[-3:-1]
    shape = (*batch, heads, queries, keys)
    bias = np.broadcast_to(0.0 if bias is None else bias, shape)
    mask = np.broadcast_to(True if mask is None else np.asarray(mask) != 0, shape)
    weights = np.zeros(shape)
    output = np.zeros((*batch, queries, heads, value.shape[-1]))
    for *b, h, i in np.ndindex(*batch, heads, queries):
        shared = h // (heads // key_heads)
        seen = [j for j in range(keys) if mask[(*b, h, i, j)]]
        logits = [
            sum(query[(*b, i, h)] * key[(*b, j, shared)]) / depth**0.5 + bias[(*b, h, i, j)]
            for j in seen
        ]
        if seen:
            weights[(*b, h, i, seen)] = softmax(np.array(logits))
        else:
            weights[(*b, h, i)] = 1 / keys
        for j in range(keys):
            output[(*b, i, h)] += weights[(*b, h, i, j)] * value[(*b, j, shared)]
    return weights, output


def case(batch=(2,), queries=4, keys=5, heads=2, key_heads=2, depth=3, value_depth=3):
    return [
        rng.normal(size=(*batch, queries, heads, depth)),
        rng.normal(size=(*batch, keys, key_heads, depth)),
        rng.normal(size=(*batch, keys, key_heads, value_depth)),
    ]


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-6)


def attend(*arrays, **options):
    """Attention, compiled as one program: operation by operation, it takes ten times as long."""
    return jax.jit(lambda *a: functional.dot_product_attention(*a, **options))(*arrays)


def some_mask(*shape):
    mask = rng.integers(0, 2, shape)
    mask[..., 1, :] = 0  # a query that sees nothing
    return mask


IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["exact", "chunked"])


@IMPLEMENTATIONS
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"batch": ()},
        {"batch": (2, 3), "queries": 1},
        {"keys": 1},
        {"heads": 4},
        {"heads": 6, "key_heads": 2, "value_depth": 2},
        {"heads": 3, "key_heads": 1, "depth": 1, "value_depth": 5},
        {"heads": 1, "key_heads": 1},
    ],
    ids=str,
)
def test_output_is_the_formula_s(sizes, implementation):
    sizes.setdefault("heads", 2)
    arrays = case(**sizes)
    ours = attend(*single(*arrays), implementation=implementation)
    near(ours, attention(*arrays)[1])


@IMPLEMENTATIONS
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "shape", [(2, 2, 4, 5), (1, 1, 4, 5), (2, 4, 5), (4, 5), (2, 1, 2, 5), (2, 1, 4, 1)], ids=str
)
def test_bias_and_mask_broadcast(shape, groups, implementation):
    shape = tuple(2 * n if len(shape) - i == 3 and n > 1 else n for i, n in enumerate(shape))
    if len(shape) == 4 and shape[2] == 2:
        shape = (2, 1, 4, 5)
    arrays = case(heads=4, key_heads=4 // groups)
    bias, mask = rng.normal(size=shape), some_mask(*shape)
    ours = attend(
        *single(*arrays, bias), jnp.asarray(mask, jnp.float32), implementation=implementation
    )
    near(ours, attention(*arrays, bias, mask)[1])


def test_weights_are_the_formula_s():
    query, key, value = case(heads=4)
    mask = some_mask(2, 1, 4, 5)
    ours = functional.dot_product_attention_weights(
        *single(query, key), mask=jnp.asarray(mask, bool)
    )
    near(ours, attention(query, key, value, mask=mask)[0])


@IMPLEMENTATIONS
@pytest.mark.parametrize("offset", [0, 2, jnp.int32(1)])
@pytest.mark.parametrize("mask", [None, some_mask(2, 1, 4, 5)], ids=["all", "masked"])
def test_causality(mask, offset, implementation):
    arrays = case()
    earlier = np.arange(5) <= np.arange(4)[:, None] + int(offset)
    ours = attend(
        *single(*arrays),
        mask=None if mask is None else jnp.asarray(mask),
        is_causal=True,
        query_offset=offset,
        implementation=implementation,
    )
    both = earlier if mask is None else earlier & (mask != 0)
    near(ours, attention(*arrays, mask=both)[1])


@IMPLEMENTATIONS
def test_minus_infinity_as_bias_is_a_mask(implementation):
    arrays, mask = case(), rng.integers(0, 2, (2, 1, 4, 5))
    mask[..., 0] = 1
    bias = np.where(mask, 0.0, -np.inf)
    ours = attend(*single(*arrays, bias), implementation=implementation)
    near(ours, attention(*arrays, mask=mask)[1])


@IMPLEMENTATIONS
def test_large_logits_don_t_overflow(implementation):
    query, key, value = case()
    ours = attend(*single(1e4 * query, key, value), implementation=implementation)
    near(ours, attention(1e4 * query, key, value)[1], rtol=2e-3, atol=2e-4)


@IMPLEMENTATIONS
def test_a_mask_or_bias_may_bring_batch_dimensions(implementation):
    arrays = case(batch=())
    mask, bias = some_mask(3, 1, 4, 5), rng.normal(size=(2, 1, 1, 1, 5))
    ours = attend(*single(*arrays, bias), jnp.asarray(mask), implementation=implementation)
    spread = [np.broadcast_to(a, (2, 3, *a.shape)) for a in arrays]
    near(ours, attention(*spread, bias, mask)[1])


@IMPLEMENTATIONS
def test_a_query_that_sees_nothing_gets_the_mean_and_finite_gradients(implementation):
    query, key, value = single(*case(batch=()))
    mask = jnp.ones((4, 5)).at[2].set(0)

    def output(query, key, value):
        return functional.dot_product_attention(
            query, key, value, mask=mask, implementation=implementation
        )

    near(output(query, key, value)[2], jnp.mean(value, 0))
    of_query, of_key, of_value = jax.jit(
        jax.grad(lambda *a: jnp.sum(output(*a)[2] ** 2), (0, 1, 2))
    )(query, key, value)
    assert not np.any(of_query)
    assert not np.any(of_key)
    near(of_value, np.broadcast_to(2 * jnp.mean(value, 0) / 5, value.shape))


@IMPLEMENTATIONS
def test_no_keys_no_queries(implementation):
    query, key, value = single(*case())
    empty = attend(query, key[:, :0], value[:, :0], implementation=implementation)
    near(empty, np.zeros((2, 4, 2, 3)))
    none = attend(query[:, :0], key, value, implementation=implementation)
    assert none.shape == (2, 0, 2, 3)


@IMPLEMENTATIONS
def test_half_precision_and_its_float32_softmax(implementation):
    arrays = case(depth=8)
    expected = attention(*arrays)[1]
    options = {"dtype": jnp.bfloat16, "implementation": implementation}
    half = attend(*single(*arrays), **options)
    wide = attend(*single(*arrays), force_fp32_for_softmax=True, **options)
    assert (half.dtype, wide.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(half.astype(jnp.float32), expected, atol=0.05)
    np.testing.assert_allclose(wide, expected, atol=0.03)


@pytest.mark.usefixtures("x64")
@IMPLEMENTATIONS
def test_float64_is_computed_in_float64(implementation):
    arrays = case()
    ours = attend(*map(jnp.asarray, arrays), implementation=implementation)
    assert ours.dtype == jnp.float64
    near(ours, attention(*arrays)[1], rtol=1e-12, atol=1e-13)


# Dropout.


@pytest.mark.parametrize("broadcast", [True, False])
def test_dropout_keeps_the_mean_and_shares_coins_if_told(broadcast):
    query, key = (jnp.ones((3, 40, 2, 1)) for _ in range(2))
    weights = functional.dot_product_attention_weights(
        query, key, dropout_rng=jax.random.key(0), dropout_rate=0.3, broadcast_dropout=broadcast
    )
    values = np.unique(np.asarray(weights))
    near(values, [0.0, 1 / 40 / 0.7])
    assert abs(np.mean(weights == 0) - 0.3) < 0.04
    shared = np.ptp(np.asarray(weights), axis=(0, 1)).max() == 0
    assert shared == broadcast


def test_dropout_of_everything_and_of_nothing():
    arrays = single(*case())
    for implementation in ("exact", "auto"):
        everything = functional.dot_product_attention(
            *arrays,
            dropout_rate=1.0,
            dropout_rng=jax.random.key(0),
            implementation=implementation,
        )
        assert not np.any(everything)
    nothing = functional.dot_product_attention(*arrays, dropout_rate=0.5, deterministic=True)
    near(nothing, functional.dot_product_attention(*arrays))


# Masks.


def test_masks():
    queries, keys = rng.integers(0, 3, (2, 4)), rng.integers(0, 3, (2, 5))
    equal = functional.make_attention_mask(queries, keys, jnp.equal, dtype=bool)
    for b, i, j in np.ndindex(2, 4, 5):
        assert equal[b, 0, i, j] == (queries[b, i] == keys[b, j])
    assert equal.shape == (2, 1, 4, 5)
    product = functional.make_attention_mask(queries, keys, extra_batch_dims=2)
    assert (product.shape, product.dtype) == ((1, 1, 2, 1, 4, 5), jnp.float32)
    near(product[0, 0, :, 0], queries[:, :, None] * keys[:, None, :])
    causal = functional.make_causal_mask(jnp.zeros((2, 4)), extra_batch_dims=1, dtype=jnp.int32)
    near(causal, np.broadcast_to(np.tril(np.ones((4, 4))), (1, 2, 1, 4, 4)))
    both = functional.combine_masks(jnp.array([[2, 0]]), None, jnp.array([[1.0], [0.0]]))
    near(both, [[1, 0], [0, 0]])
    assert functional.combine_masks(None, None) is None
    assert functional.combine_masks() is None


# The module.


@pytest.mark.parametrize("key_heads", [None, 1])
def test_module_is_projections_around_the_formula(key_heads):
    layer = linen.MultiHeadDotProductAttention(
        num_heads=2, qkv_features=6, out_features=5, num_kv_heads=key_heads
    )
    inputs = [rng.normal(size=(2, n, d)) for n, d in ((3, 4), (5, 7), (5, 8))]
    variables = layer.init(jax.random.key(0), *single(*inputs))
    variables = jax.tree.map(lambda p: placed(rng.normal(size=p.shape), p.dtype), variables)
    params = jax.tree.map(np.float64, variables["params"])
    projected = [
        np.einsum("btc,chd->bthd", x, params[name]["kernel"]) + params[name]["bias"]
        for x, name in zip(inputs, ("query", "key", "value"), strict=True)
    ]
    heads = attention(*projected)[1]
    expected = np.einsum("bthd,hdc->btc", heads, params["out"]["kernel"]) + params["out"]["bias"]
    near(layer.apply(variables, *single(*inputs)), expected, rtol=1e-4, atol=1e-5)


def test_normalized_queries_and_keys():
    layer = linen.MultiHeadDotProductAttention(num_heads=2, qkv_features=16, normalize_qk=True)
    x = rng.normal(size=(2, 3, 4))
    variables = layer.init(jax.random.key(0), *single(x))
    params = jax.tree.map(np.float64, variables["params"])
    params["query_ln"]["scale"] = rng.normal(size=8)

    def projected(name):
        return np.einsum("btc,chd->bthd", x, params[name]["kernel"]) + params[name]["bias"]

    def normalized(name):
        y = projected(name)
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return y * params[f"{name}_ln"]["scale"]

    heads = attention(normalized("query"), normalized("key"), projected("value"))[1]
    expected = np.einsum("bthd,hdc->btc", heads, params["out"]["kernel"]) + params["out"]["bias"]
    variables = {"params": jax.tree.map(jnp.float32, params)}
    near(layer.apply(variables, *single(x)), expected, rtol=1e-4, atol=1e-5)
