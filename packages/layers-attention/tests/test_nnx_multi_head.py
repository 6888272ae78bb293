"""nnx attention beyond the contracts: the cache, streams, user-defined functions, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import sample
from linnet.layers_attention import functional, nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError
from linnet.module_core.nnx import Cache, Intermediate, Rngs, jit, merge, pop, split

LENGTH = 6
X = sample((2, LENGTH, 4))


def attention(heads=2, **options):
    return nnx.MultiHeadAttention(heads, 4, rngs=Rngs(0), **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"heads": 4, "num_kv_heads": 2, "normalize_qk": True},
        {"implementation": "chunked"},
        {"attention_fn": lambda q, k, v, mask: nnx.dot_product_attention(q, k, v, mask=mask)},
    ],
    ids=["plain", "groups, normalized", "chunked", "a function that only takes masks"],
)
def test_decoding_is_causal_attention(options):
    layer = attention(**options)
    expected = layer(X, is_causal=True, decode=False)
    step = jit(lambda layer, x: layer(x, decode=True))
    for sizes in [(1,) * 6, (4, 1, 1), (6,)]:
        layer.init_cache((2, LENGTH, 4))
        pieces, first = [], 0
        for size in sizes:
            pieces.append(step(layer, X[:, first : first + size]))
            first += size
        np.testing.assert_allclose(jnp.concatenate(pieces, 1), expected, rtol=1e-5, atol=2e-6)
        assert int(layer.cache_index[...]) == LENGTH


def test_the_cache_is_as_it_was_made():
    layer = attention(4, num_kv_heads=2, decode=True)
    assert layer.cached_key is None
    layer.init_cache((3, 5, 4), dtype=jnp.bfloat16)
    assert type(layer.cached_value) is Cache
    assert layer.cached_value.shape == (3, 5, 2, 1)
    layer(jnp.ones((3, 2, 4)))
    assert layer.cached_key.dtype == jnp.bfloat16
    assert layer.cache_index[...] == 2


def test_past_the_end_is_an_error_or_not_a_number():
    layer = attention(decode=True)
    layer.init_cache((2, 4, 4))
    step = jit(lambda layer, x: layer(x))
    assert np.isfinite(step(layer, X[:, :3])).all()
    with pytest.raises(ArgumentError, match="MultiHeadAttention: The cache is full: it has room"):
        layer(X[:, :2])
    assert layer.cache_index[...] == 3
    assert np.isnan(step(layer, X[:, :2])).all()


def test_a_mask_is_heeded_besides_the_cache():
    layer = attention(decode=True)
    visible = jnp.array([1, 0, 1, 1, 0, 1])[None, None, None]  # padding among the keys
    mask = functional.combine_masks(visible, functional.make_causal_mask(X[:1, :, 0]))
    expected = layer(X, decode=False, mask=mask)
    layer.init_cache(X.shape)
    pieces = [layer(X[:, :3], mask=visible), layer(X[:, 3:], mask=visible)]
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), expected, rtol=1e-5, atol=2e-6)


def test_a_loop_can_carry_the_cache():
    layer = attention(decode=True)
    layer.init_cache(X.shape)
    expected = layer(X, decode=False, is_causal=True)
    graphdef, cache, rest = split(layer, Cache, ...)

    def step(cache, x):
        module = merge(graphdef, cache, jax.tree.map(lambda x: x, rest))
        y = module(x[:, None])
        return split(module, Cache, ...)[1], y[:, 0]

    _, outputs = jax.lax.scan(step, cache, X.swapaxes(0, 1))
    np.testing.assert_allclose(outputs.swapaxes(0, 1), expected, rtol=1e-5, atol=2e-6)


def test_set_view_sets_what_is_given():
    layer = attention()
    layer.set_view(deterministic=True, decode=True)
    assert (layer.deterministic, layer.decode, layer.cached_key) == (True, True, None)
    layer.set_view(batch_size=2, max_length=5)
    assert layer.cached_key is not None
    assert layer.cached_key.shape == (2, 5, 2, 2)
    layer(X[:, :2])
    layer.set_view(batch_size=(2,), max_length=5)  # no change: it keeps its contents
    assert layer.cache_index[...] == 2
    with pytest.raises(ArgumentError, match="A cache needs both"):
        layer.set_view(max_length=3)


def test_attributes_are_set_for_whole_models():
    layer = attention(dropout_rate=0.5)
    layer.eval(decode=False)
    assert (layer.deterministic, layer.decode) == (True, False)
    layer.train()
    assert layer.deterministic is False


def test_dropout_draws_from_the_layer_s_stream_or_the_call_s():
    layer = attention(dropout_rate=0.5, deterministic=False, decode=False)
    first, second = layer(X), layer(X)
    assert not np.allclose(first, second)
    assert layer.rngs is not None
    assert layer.rngs.count[...] == 2
    key = Rngs(dropout=7).dropout()
    given = [layer(X, rngs=r) for r in (Rngs(dropout=7), Rngs(dropout=7).dropout, key)]
    np.testing.assert_array_equal(given[0], given[1])
    np.testing.assert_array_equal(given[0], given[2])
    assert layer.rngs.count[...] == 2
    np.testing.assert_array_equal(layer(X, deterministic=True), layer(X, deterministic=True))
    bare = attention(dropout_rate=0.5, deterministic=False, decode=False, keep_rngs=False)
    assert bare.rngs is None
    np.testing.assert_array_equal(bare(X, rngs=key), given[0])


def test_weights_are_sown_before_dropout():
    layer = attention(dropout_rate=0.5, deterministic=False, decode=False)
    layer(X, sow_weights=True)
    layer(X, sow_weights=True)
    weights = pop(layer, Intermediate)["attention_weights"].get_value()
    assert [w.shape for w in weights] == [(2, 2, LENGTH, LENGTH)] * 2
    np.testing.assert_allclose(weights[0].sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(weights[0], weights[1])


def test_metadata_goes_to_the_parameters_named():
    layer = attention(
        normalize_qk=True,
        kernel_metadata={"a": 1},
        out_kernel_metadata={"a": 2},
        bias_metadata={"a": 3},
        out_bias_metadata={"a": 4},
        query_ln_scale_metadata={"a": 5},
        key_ln_scale_metadata={"a": 6},
    )
    assert [p.a for p in (layer.query.kernel, layer.value.kernel, layer.out.kernel)] == [1, 1, 2]
    assert [p.a for p in (layer.key.bias, layer.out.bias)] == [3, 4]
    assert [n.scale.a for n in (layer.query_ln, layer.key_ln)] == [5, 6]


def test_an_attention_fn_gets_what_its_signature_names():
    seen = {}

    def some(query, key, value, *, dropout_rate, is_causal=False):
        seen.update(rate=dropout_rate, causal=is_causal)
        return value

    def everything(query, key, value, **options):
        seen.update(options)
        return value

    attention(attention_fn=some, decode=False)(X, is_causal=True)
    assert seen == {"rate": 0.0, "causal": True}
    attention(attention_fn=everything, decode=False)(X, mask=jnp.ones((6, 6)), sow_weights=True)
    assert {"mask", "deterministic", "module", "dropout_rng", "precision"} <= set(seen)
    with pytest.raises(ArgumentError, match="sow_weights=True needs an attention_fn that takes"):
        attention(attention_fn=some, decode=False)(X, sow_weights=True)


def test_long_sequences_go_block_after_block():
    x = sample((1, 520, 2, 4), seed=2)
    short = functional.dot_product_attention(x, x, x, implementation="exact", is_causal=True)
    auto = jax.jit(lambda x: nnx.dot_product_attention(x, x, x, is_causal=True))
    np.testing.assert_allclose(auto(x), short, rtol=1e-4, atol=1e-5)
    text = jax.jit(auto).lower(x).as_text()
    assert "520x520" not in text


def test_weights_of_the_function():
    q, k = X.reshape(2, 6, 2, 2), X.reshape(2, 6, 2, 2) * 2
    np.testing.assert_array_equal(
        nnx.dot_product_attention_weights(q, k, is_causal=True),
        functional.dot_product_attention_weights(q, k, is_causal=True),
    )
    deeper = jnp.ones((2, 6, 2, 5))  # values that jax's own attention doesn't take
    np.testing.assert_allclose(nnx.dot_product_attention(q, k, deeper), 1, rtol=1e-6)


MISTAKES = [
    (
        lambda: attention()(X),
        ArgumentError,
        r"MultiHeadAttention: decode is None in both .* Pass",
    ),
    (
        lambda: attention(dropout_rate=0.1, decode=False)(X),
        ArgumentError,
        r"MultiHeadAttention: deterministic is None in .*model.train\(\)",
    ),
    (
        lambda: attention(decode=True)(X),
        ArgumentError,
        r"Autoregressive cache not initialized.*\n  Call init_cache",
    ),
    (
        lambda: attention(dropout_rate=0.1, keep_rngs=False, deterministic=False, decode=False)(X),
        ArgumentError,
        r"drops values at random but has no random stream",
    ),
    (
        lambda: attention(dropout_rate=0.1, deterministic=False, decode=False)(X, rngs=3),
        ArgumentTypeError,
        r"'rngs' must be nnx.Rngs, an RngStream or a key, got 3",
    ),
    (lambda: attention(3), ArgumentError, r"qkv_features=4 must be divisible by num_heads=3"),
    (
        lambda: attention(2, num_kv_heads=3),
        ArgumentError,
        r"num_heads=2 must be divisible by num_kv_heads=3",
    ),
    (lambda: attention(dropout_rate=30), ArgumentError, r"'dropout_rate' must be within \[0, 1\]"),
    (lambda: attention(implementation="fast"), ArgumentError, r"implementation='fast' is unknown"),
    (lambda: attention(decode=False)(X[..., :3]), ShapeError, r"\(2, 6, 3\), expected"),
    (lambda: attention(decode=False)(X, None, X), ArgumentError, r"`inputs_k` is None"),
    (lambda: attention().init_cache((4,)), ShapeError, r"must have at least 2 dimensions"),
    (
        lambda: attention(decode=False)(X, mask=jnp.ones((5, 5))),
        ShapeError,
        r"MultiHeadAttention: mask has shape \(5, 5\), which doesn't broadcast",
    ),
    (
        lambda: nnx.MultiHeadAttention(2, 4, rngs=jax.random.key(0)),
        ArgumentTypeError,
        r"draws its parameters from rngs",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "error", "message"), MISTAKES, ids=lambda m: m[:40] if isinstance(m, str) else ""
)
def test_mistakes_say_what_to_do(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()
