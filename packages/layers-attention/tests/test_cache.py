"""Decoding with a cache equals full causal attention, however the input is split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import placed
from linnet.layers_attention import functional, linen
from linnet.module_core import errors

LENGTH = 6
X = placed(np.random.default_rng(0).normal(size=(2, LENGTH, 4)), jnp.float32)
KEY = jax.random.key(1)


def start(**fields):
    """A decoding layer, its parameters, and an empty cache."""
    layer = linen.MultiHeadAttention(2, decode=True, **fields)
    variables = jax.jit(layer.init)(KEY, X)
    return layer, {"params": variables["params"]}, {"cache": variables["cache"]}


def decode(layer, params, cache, x, *sizes, **call):
    """Outputs and cache after `x` was passed in pieces of these sizes."""
    return run(step_of(layer, params, **call), cache, x, *sizes)


def step_of(layer, params, **call):
    return jax.jit(lambda c, x: layer.apply({**params, **c}, x, mutable=["cache"], **call))


def run(step, cache, x, *sizes):
    outputs, first = [], 0
    for size in sizes:
        y, cache = step(cache, x[:, first : first + size])
        outputs.append(y)
        first += size
    return jnp.concatenate(outputs, 1), cache


def test_init_makes_an_empty_cache():
    _, _, cache = start(num_kv_heads=1, dtype=jnp.bfloat16)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), cache["cache"])
    assert shapes == {
        "cache_index": ((), jnp.int32),
        "cached_key": ((2, LENGTH, 1, 2), jnp.bfloat16),
        "cached_value": ((2, LENGTH, 1, 2), jnp.bfloat16),
    }
    assert not any(np.any(x) for x in jax.tree.leaves(cache))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_kv_heads": 1},
        {"normalize_qk": True, "qkv_features": 16},
        {"implementation": "chunked"},
        {"attention_fn": lambda q, k, v, mask: linen.dot_product_attention(q, k, v, mask=mask)},
    ],
    ids=["plain", "groups", "normalized", "chunked", "a function that only takes masks"],
)
def test_decoding_is_causal_attention(fields):
    layer, params, empty = start(**fields)
    expected = jax.jit(lambda x: layer.clone(decode=False).apply(params, x, is_causal=True))(X)
    step = step_of(layer, params)
    for sizes in [(1,) * 6, (4, 1, 1), (2, 3, 1), (6,)]:
        outputs, cache = run(step, empty, X, *sizes)
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=2e-6, err_msg=str(sizes))
        assert cache["cache"]["cache_index"] == LENGTH


def test_a_mask_is_heeded_besides():
    layer, params, cache = start()
    visible = jnp.array([1, 0, 1, 1, 0, 1])  # padding among the keys
    outputs, _ = decode(layer, params, cache, X, 3, 2, mask=visible[None, None, None])
    mask = functional.combine_masks(
        visible[None, None, None], functional.make_causal_mask(X[:1, :, 0])
    )
    expected = layer.clone(decode=False).apply(params, X, mask=mask)
    np.testing.assert_allclose(outputs, expected[:, :5], rtol=1e-5, atol=2e-6)


def test_a_loop_can_carry_the_cache():
    layer, params, cache = start()

    def step(cache, x):
        y, cache = layer.apply({**params, **cache}, x[:, None], mutable=["cache"])
        return cache, y[:, 0]

    _, outputs = jax.lax.scan(step, cache, jnp.swapaxes(X, 0, 1))
    expected, _ = decode(layer, params, cache, X, *(1,) * 6)
    np.testing.assert_allclose(jnp.swapaxes(outputs, 0, 1), expected, rtol=1e-5, atol=2e-6)


def test_past_the_end_is_an_error_where_the_position_is_known():
    layer, params, cache = start()
    _, cache = decode(layer, params, cache, X, 4)
    with pytest.raises(ValueError, match=r"room for 6 positions, 4 are filled, 3 more") as caught:
        layer.apply({**params, **cache}, X[:, :3], mutable=["cache"])
    assert isinstance(caught.value, errors.ArgumentError)
    assert "MultiHeadAttention" in str(caught.value)
    longer = jnp.concatenate([X, X[:, :1]], 1)
    with pytest.raises(ValueError, match=r"room for 6 positions, some are filled, 7 more"):
        jax.jit(lambda c: layer.apply({**params, **c}, longer, mutable=["cache"]))(cache)


def test_past_the_end_is_nan_where_the_position_is_not_known():
    layer, params, cache = start()
    outputs, cache = decode(layer, params, cache, X, 4, 2)
    assert np.all(np.isfinite(outputs))
    outputs, cache = decode(layer, params, cache, X, 1, 1)
    assert np.all(np.isnan(outputs))
    assert cache["cache"]["cache_index"] == LENGTH + 2


def test_other_shapes_than_init_s_raise_an_error():
    layer, params, cache = start()
    with pytest.raises(ValueError, match="Autoregressive cache shape error"):
        layer.apply({**params, **cache}, X[:1, :1], mutable=["cache"])
    with pytest.raises(ValueError, match="got 1 and 2 of them"):
        layer.apply({**params, **cache}, X[:, :1], X[:, :2], mutable=["cache"])
    with pytest.raises(ValueError, match=r"mask has shape \(1, 1, 3, 3\)"):
        layer.apply({**params, **cache}, X[:, :3], mask=jnp.ones((1, 1, 3, 3)), mutable=["cache"])
    with pytest.raises(errors.ModifyScopeVariableError, match="mutable"):
        layer.apply({**params, **cache}, X[:, :1])


def test_the_function_appends_without_changing_what_was():
    empty = functional.init_cache((4, 1, 2), (4, 1, 3), jnp.float32, jnp.bfloat16)
    one = functional.append_to_cache(empty, jnp.ones((1, 1, 2)), jnp.ones((1, 1, 3)))
    three = functional.append_to_cache(one, 2 * jnp.ones((2, 1, 2)), 2 * jnp.ones((2, 1, 3)))
    assert (empty.filled, one.filled, three.filled) == (0, 1, 3)
    assert not np.any(empty.key)
    np.testing.assert_array_equal(three.key[:, 0, 0], [1, 2, 2, 0])
    assert three.value.dtype == jnp.bfloat16
    assert functional.overflowed(three) is None
    with pytest.raises(ValueError, match="3 are filled, 2 more"):
        functional.append_to_cache(three, jnp.ones((2, 1, 2)), jnp.ones((2, 1, 3)))
