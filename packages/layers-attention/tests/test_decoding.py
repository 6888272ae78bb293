"""Decoding rows at different positions: each row gives the result that it would give alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import near, placed
from linnet.layers_attention import functional, linen, nnx
from linnet.layers_attention.functional import CacheOptions, Rotary
from linnet.layers_norm.linen import RMSNorm
from linnet.layers_norm.nnx import RMSNorm as NNXRMSNorm
from linnet.module_core.nnx import Module, Repeat, Rngs, jit, view

ROWS, LENGTH, PROMPT = 6, 12, 5
X = placed(np.random.default_rng(0).normal(size=(ROWS, LENGTH, 8)), jnp.float32)
PROMPTS = np.array([5, 1, 3, 0, 2, 4])  # the length of each row's prompt

FIELDS = {
    "plain": {},
    "rotary, groups": {"rotary": Rotary(base=50.0), "num_kv_heads": 1, "use_sinks": True},
    "window": {"window": (3, None), "rotary": Rotary(fraction=0.5), "soft_cap": 3.0},
    "ring": {"window": 3, "rotary": Rotary(interleaved=True), "ring": True, "scale": 0.5},
    "ring in chunks": {"window": 4, "ring": True, "implementation": "chunked"},
    "a function that only takes masks": {
        "window": 3,
        "ring": True,
        "attention_fn": lambda q, k, v, mask: linen.dot_product_attention(q, k, v, mask=mask),
    },
}


class Residual(Module):
    def __init__(self, attention):
        self.attention = attention

    def __call__(self, x, **options):
        return x + self.attention(x, **options)


def layers(ring=False, dtype=None, per_row=True, **fields):
    """The layer that decodes, and the same layer without a cache, with shared parameters."""
    options = CacheOptions(per_row=per_row, ring=ring, dtype=dtype)
    decoding = linen.MultiHeadAttention(
        2, decode=True, cache_options=options, sinks_init=jax.nn.initializers.normal(1.0), **fields
    )
    variables = jax.jit(decoding.init)(jax.random.key(1), X)
    return decoding, decoding.clone(decode=False), variables


def decode(step, cache, x, prompts):
    """Outputs of each token, [ROWS, LENGTH, C]: padded prompts in one call, then token by token."""
    lengths = jnp.asarray(prompts)
    index = np.arange(PROMPT)
    padded = jnp.where((index < lengths[:, None])[..., None], x[:, :PROMPT], 100.0)
    y, cache = step(cache, padded, lengths)
    outputs = np.full(x.shape, np.nan)
    for row, n in enumerate(prompts):
        outputs[row, :n] = y[row, :n]
    at = np.array(prompts)
    for _ in range(LENGTH - PROMPT):
        token = x[np.arange(ROWS), at][:, None]
        y, cache = step(cache, token, jnp.ones(ROWS, jnp.int32))
        outputs[np.arange(ROWS), at] = y[:, 0]
        at += 1
    return outputs, cache, at


@pytest.mark.parametrize("name", FIELDS)
def test_each_row_gets_what_it_would_get_alone(name):
    decoding, whole, variables = layers(**FIELDS[name])
    params = {"params": variables["params"]}

    @jax.jit
    def step(cache, x, lengths):
        return decoding.apply({**params, **cache}, x, lengths=lengths, mutable=["cache"])

    outputs, cache, ends = decode(step, {"cache": variables["cache"]}, X, PROMPTS)
    expected = jax.jit(partial(whole.apply, is_causal=True))(params, X)
    for row, end in enumerate(ends):
        near(outputs[row, :end], expected[row, :end], 1e-4, 1e-5)
    np.testing.assert_array_equal(cache["cache"]["cache_index"], ends)
    assert step._cache_size() == 2  # one program for the prompts, one for all steps
    if FIELDS[name].get("ring"):
        assert cache["cache"]["cached_key"].shape[1] == FIELDS[name]["window"]


def test_nnx_decodes_the_same():
    fields = FIELDS["ring"] | {"normalize_qk": partial(RMSNorm, epsilon=1e-5)}
    _, whole, variables = layers(**fields)
    fields["normalize_qk"] = partial(NNXRMSNorm, epsilon=1e-5)
    options = CacheOptions(ring=fields.pop("ring"), per_row=True, dtype=jnp.float32)
    layer = nnx.MultiHeadAttention(2, 8, decode=True, cache_options=options, rngs=Rngs(0), **fields)
    for name, values in variables["params"].items():
        for leaf, value in values.items():
            setattr(getattr(layer, name), leaf, type(getattr(getattr(layer, name), leaf))(value))
    layer.init_cache((ROWS, LENGTH, 8))
    assert layer.cached_key.shape == (ROWS, 3, 2, 4)

    step = jit(lambda layer, x, lengths: layer(x, lengths=lengths))
    outputs, _, ends = decode(lambda _, *x: (step(layer, *x), None), None, X, PROMPTS)
    params = {"params": variables["params"]}
    expected = jax.jit(partial(whole.apply, is_causal=True))(params, X)
    for row, end in enumerate(ends):
        near(outputs[row, :end], expected[row, :end], 1e-4, 1e-5)
    layer.set_view(batch_size=ROWS, max_length=LENGTH)  # a ring of this size exists
    np.testing.assert_array_equal(layer.cache_index[...], ends)


def test_a_ring_of_all_rows_together():
    decoding, whole, variables = layers(ring=True, window=3, per_row=False)
    params, cache = {"params": variables["params"]}, {"cache": variables["cache"]}
    expected = jax.jit(partial(whole.apply, is_causal=True))(params, X)
    step = jax.jit(partial(decoding.apply, mutable=["cache"]))
    for sizes in [(1,) * LENGTH, (5, 1, 2, 4), (LENGTH,)]:
        state, outputs, first = cache, [], 0
        for size in sizes:
            y, state = step({**params, **state}, X[:, first : first + size])
            outputs.append(y)
            first += size
        near(jnp.concatenate(outputs, 1), expected, 1e-4, 1e-5)


def test_a_narrow_cache_under_wide_computation():
    decoding, whole, variables = layers(dtype=jnp.bfloat16)
    assert variables["cache"]["cached_key"].dtype == jnp.bfloat16
    params = {"params": variables["params"]}
    step = jax.jit(partial(decoding.apply, mutable=["cache"]))
    y, cache = step({**params, "cache": variables["cache"]}, X)
    assert y.dtype == jnp.float32
    assert cache["cache"]["cached_value"].dtype == jnp.bfloat16
    near(y, jax.jit(partial(whole.apply, is_causal=True))(params, X), 0.03, 0.03)


def test_only_rows_past_the_end_are_nan():
    decoding, _, variables = layers()
    state = {**variables, "cache": {**variables["cache"]}}
    state["cache"]["cache_index"] = jnp.array([LENGTH, 0, LENGTH - 1, LENGTH + 3, 1, 2])

    @jax.jit
    def step(state, x):
        return decoding.apply(state, x, mutable=["cache"])

    y, after = step(state, X[:, :1])
    np.testing.assert_array_equal(np.isnan(y).all((1, 2)), [True, False, False, True, False, False])
    for name in ("cached_key", "cached_value"):  # full rows are not overwritten
        assert not np.any(after["cache"][name][0])
    with pytest.raises(ValueError, match="room for 12 positions, 12 are filled, 1 more"):
        decoding.apply(state, X[:, :1], mutable=["cache"])


def test_axes_of_the_cache_are_named():
    axes = ("data", None, "model", None)
    options = CacheOptions(axes=axes)
    layer = linen.MultiHeadAttention(2, decode=True, cache_options=options)
    cache = jax.eval_shape(layer.init, jax.random.key(0), X)["cache"]
    assert cache["cached_key"].names == cache["cached_value"].names == axes
    variables = jax.jit(layer.init)(jax.random.key(0), X)
    _, changed = jax.jit(partial(layer.apply, mutable=["cache"]))(variables, X[:, :2])
    assert changed["cache"]["cached_key"].names == axes
    stateful = nnx.MultiHeadAttention(2, 8, decode=True, cache_options=options, rngs=Rngs(0))
    stateful.init_cache(X.shape)
    assert stateful.cached_key.sharding_names == axes


def test_positions_replace_those_that_follow_the_cached_ones():
    decoding, whole, variables = layers(rotary=Rotary(), per_row=False)
    params = {"params": variables["params"]}
    positions = jnp.arange(4) * 2
    step = jax.jit(partial(decoding.apply, mutable=["cache"]))
    y, _ = step(variables, X[:, :4], positions=positions)
    expected = jax.jit(partial(whole.apply, is_causal=True))
    near(y, expected(params, X[:, :4], positions=positions), 1e-4, 1e-5)


def test_packed_texts_are_what_they_are_alone():
    """Two texts in one row, with positions that restart, against each text on its own."""
    layer = linen.MultiHeadAttention(2, rotary=Rotary(base=20.0), window=4)
    params = jax.jit(layer.init)(jax.random.key(0), X)
    segments = jnp.repeat(jnp.array([0, 1]), jnp.array([5, 7]), total_repeat_length=LENGTH)
    positions = jnp.concatenate([jnp.arange(5), jnp.arange(7)])
    call = jax.jit(partial(layer.apply, is_causal=True))
    y = call(params, X, segment_ids=segments, positions=positions)
    alone = [call(params, x) for x in (X[:, :5], X[:, 5:])]
    near(y, jnp.concatenate(alone, 1), 1e-4, 1e-5)


def test_a_table_is_shared_by_layers():
    owner = linen.RelativePositionBias(2, num_buckets=8)
    table = owner.init(jax.random.key(0))
    bias = owner.apply(table)
    layer = linen.MultiHeadAttention(2)
    params = jax.jit(layer.init)(jax.random.key(1), X)
    whole = jnp.moveaxis(
        jnp.stack([bias(jnp.arange(LENGTH) - i) for i in range(LENGTH)]), 1, 0
    )  # [H, Q, K]
    y = jax.jit(lambda bias: layer.apply(params, X, bias=bias))(whole)
    near(jax.jit(lambda: layer.apply(params, X, bias=bias))(), y, 1e-5, 1e-5)
    stateful = nnx.RelativePositionBias(2, num_buckets=8, rngs=Rngs(0))
    stateful.embedding.value = table["params"]["embedding"]
    near(stateful()(jnp.arange(-5, 5)), bias(jnp.arange(-5, 5)))


def test_functions_append_row_by_row():
    empty = functional.init_cache((2, 4, 1, 1), (2, 4, 1, 1), per_row=True)
    new = jnp.arange(1.0, 7).reshape(2, 3, 1, 1)
    one = functional.append_to_cache(empty, new, new, lengths=jnp.array([1, 3]))
    two = functional.append_to_cache(one, new[:, :1], new[:, :1])
    np.testing.assert_array_equal(two.filled, [2, 4])
    np.testing.assert_array_equal(two.key[..., 0, 0], [[1, 1, 0, 0], [4, 5, 6, 4]])
    ring = functional.append_to_cache(two, new, new, lengths=jnp.array([3, 2]), ring=True)
    np.testing.assert_array_equal(ring.key[..., 0, 0], [[3, 1, 1, 2], [4, 5, 6, 4]])
    long = jnp.arange(1.0, 7).reshape(1, 6, 1, 1)
    ring = functional.append_to_cache(
        functional.init_cache((1, 4, 1, 1), (1, 4, 1, 1)), long, long, ring=True
    )
    np.testing.assert_array_equal(ring.key[0, :, 0, 0], [5, 6, 3, 4])


def test_repeated_layers_have_a_cache_each():
    """`view` makes the caches of all layers in a Repeat, including layers that alternate."""
    options = CacheOptions(per_row=True, dtype=jnp.float32)

    def block(window, rngs):
        attention = nnx.MultiHeadAttention(
            2, 8, rotary=Rotary(), window=window, cache_options=options, decode=False, rngs=rngs
        )
        return Residual(attention)

    model = Repeat([partial(block, None), partial(block, 3)], 4, rngs=Rngs(0))
    call = jit(lambda model, x, **options: model(x, **options))
    expected = jit(lambda model, x: model(x, is_causal=True))(model, X)
    reader = view(model, decode=True, batch_size=ROWS, max_length=LENGTH)
    assert reader.block_0.attention.cached_key.shape == (2, ROWS, LENGTH, 2, 4)
    assert model.block_0.attention.cached_key is None
    first = call(reader, X[:, :PROMPT], lengths=jnp.full(ROWS, PROMPT))
    near(first, expected[:, :PROMPT], 1e-4, 1e-5)
    for t in range(PROMPT, PROMPT + 3):
        near(call(reader, X[:, t : t + 1])[:, 0], expected[:, t], 1e-4, 1e-5)
    again = view(reader, batch_size=ROWS, max_length=LENGTH)
    assert again.block_1.attention.cache_index is reader.block_1.attention.cache_index
