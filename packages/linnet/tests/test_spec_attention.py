"""The documented behavior of the attention layers, statement by statement."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linnet.linen as nn
from comparing import near, sample

KEY = jax.random.key(0)


def different(a, b):
    assert a.shape == b.shape
    assert not np.allclose(a, b)


each_name = pytest.mark.parametrize("name", ["MultiHeadDotProductAttention", "MultiHeadAttention"])


@each_name
def test_inputs_that_are_left_out_are_those_to_their_left(name):
    layer = getattr(nn, name)(num_heads=2, qkv_features=6)
    a, b, c = sample((3, 2, 4, 5))
    variables = layer.init(KEY, a)

    def run(*args, **kwargs):
        return layer.apply(variables, *args, **kwargs)

    near(run(a, b), run(inputs_q=a, inputs_k=b, inputs_v=b))
    near(run(a), run(inputs_q=a, inputs_k=a))
    near(run(a), run(inputs_q=a, inputs_k=a, inputs_v=a))
    assert run(a, b, c).shape == (2, 4, 5)
    different(run(a, b, c), run(a, b))


@each_name
def test_layers_drop_apart_from_a_stream_and_alike_with_one_key(name):
    options = {"num_heads": 2, "qkv_features": 6, "dropout_rate": 0.5, "deterministic": False}
    equal = {"kernel_init": nn.initializers.ones, "bias_init": nn.initializers.zeros}

    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x, key=None):
            make = getattr(nn, name)
            return [make(**options, **equal)(x, dropout_rng=key) for _ in range(2)]

    pair = Pair()
    x = sample((2, 4, 5))
    one, other, third, fourth = jax.random.split(KEY, 4)
    variables = pair.init({"params": one, "dropout": other}, x)
    apply = jax.jit(lambda key, **streams: pair.apply(variables, x, key, rngs=streams))

    # Each layer draws its own key from a stream; another key of the stream changes both.
    a, b = apply(None, dropout=third)
    c, d = apply(None, dropout=fourth)
    different(a, b)
    different(c, d)
    different(a, c)
    different(b, d)
    # A key that is passed is shared by all layers, and takes precedence over the stream.
    e, f = apply(fourth)
    g, h = apply(fourth, dropout=third)
    near(e, f)
    near(e, g)
    near(f, h)


def test_several_batch_dimensions_leave_the_parameters_as_they_are():
    layer = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=6)
    variables = jax.eval_shape(layer.init, KEY, jnp.ones((2, 7, 4, 5)))
    assert variables["params"]["query"]["kernel"].shape == (5, 2, 3)


# Signatures: names, order and defaults; Linnet's own arguments come after them, keyword-only.

FIELDS = {
    "num_heads": inspect.Parameter.empty,
    "dtype": None,
    "param_dtype": jnp.float32,
    "qkv_features": None,
    "out_features": None,
    "broadcast_dropout": True,
    "dropout_rate": 0.0,
    "deterministic": None,
    "precision": None,
    "kernel_init": nn.initializers.lecun_normal(),
    "out_kernel_init": None,
    "bias_init": nn.initializers.zeros_init(),
    "out_bias_init": None,
    "use_bias": True,
    "attention_fn": nn.dot_product_attention,
    "decode": False,
    "normalize_qk": False,
    "force_fp32_for_softmax": False,
    "qkv_dot_general": None,
    "out_dot_general": None,
    "qkv_dot_general_cls": None,
    "out_dot_general_cls": None,
    "qk_attn_weights_einsum_cls": None,
    "attn_weights_value_einsum_cls": None,
    "parent": inspect.Parameter.empty,
    "name": None,
}
CALL = (
    "(self, inputs_q, inputs_k=None, inputs_v=None, *, inputs_kv=None, mask=None, "
    "deterministic=None, dropout_rng=None, sow_weights=False)"
)
SHARED = (
    "bias=None, mask=None, broadcast_dropout=True, dropout_rng=None, dropout_rate=0.0, "
    "deterministic=False, dtype=None, precision=None, module=None, force_fp32_for_softmax=False, "
    "einsum_dot_general=None, "
)
FUNCTIONS = {
    "dot_product_attention_weights": f"(query, key, {SHARED}einsum=None)",
    "dot_product_attention": (
        f"(query, key, value, {SHARED}qk_attn_weights_einsum=None, attn_weights_value_einsum=None)"
    ),
    "make_attention_mask": (
        f"(query_input, key_input, pairwise_fn={jnp.multiply!r}, extra_batch_dims=0, "
        f"dtype={jnp.float32!r})"
    ),
    "make_causal_mask": f"(x, extra_batch_dims=0, dtype={jnp.float32!r})",
}
OWN = (
    "is_causal",
    "query_offset",
    "implementation",
    "num_kv_heads",
    "rotary",
    "window",
    "scale",
    "soft_cap",
    "sinks",
    "use_sinks",
    "sinks_init",
    "use_out_bias",
    "cache_options",
    "key_positions",
    "segment_ids",
    "key_segment_ids",
    "positions",
    "lengths",
    "out_sharding",
    "qkv_sharding",
)


def signature(function, own=OWN):
    """The signature without annotations and Linnet's own arguments, which must be keyword-only."""
    whole = inspect.signature(function)
    kept = []
    for p in whole.parameters.values():
        if p.name in own:
            assert p.kind is p.KEYWORD_ONLY
        else:
            kept.append(p.replace(annotation=p.empty))
    return str(whole.replace(parameters=kept, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize(
    "name", ["MultiHeadDotProductAttention", "MultiHeadAttention", "SelfAttention"]
)
def test_fields(name):
    parameters = inspect.signature(getattr(nn, name)).parameters
    theirs = [n for n in parameters if n not in OWN]
    assert theirs == list(FIELDS)
    for field, default in FIELDS.items():
        if field != "parent":
            assert parameters[field].default == default
    for field in OWN:
        assert field not in parameters or parameters[field].kind is inspect.Parameter.KEYWORD_ONLY


def test_calls_and_functions():
    assert signature(nn.MultiHeadDotProductAttention.__call__, (*OWN, "bias")) == CALL
    assert signature(nn.MultiHeadAttention.__call__, (*OWN, "bias")) == CALL
    assert signature(nn.SelfAttention.__call__) == (
        "(self, inputs_q, mask=None, deterministic=None, dropout_rng=None, sow_weights=False)"
    )
    for name, expected in FUNCTIONS.items():
        assert signature(getattr(nn, name)) == expected


# The layers.

X = sample((2, 3, 5, 6))
Y = sample((2, 3, 2, 6), seed=1)
Attention = nn.MultiHeadDotProductAttention


def run(layer, *inputs, **call):
    """Output and variables of `init`."""
    rngs = {"params": KEY, "dropout": jax.random.key(2)}
    return jax.jit(lambda *a: layer.init_with_output(rngs, *a, **call))(*(inputs or (X,)))


def shapes(variables):
    return jax.tree.map(jnp.shape, variables["params"])


def test_inputs_project_to_heads_and_the_result_to_the_output():
    y, variables = run(Attention(2, qkv_features=8, out_features=7))
    assert y.shape == (2, 3, 5, 7)
    projection = {"kernel": (6, 2, 4), "bias": (2, 4)}
    out = {"kernel": (2, 4, 7), "bias": (7,)}
    assert shapes(variables) == {
        "query": projection,
        "key": projection,
        "value": projection,
        "out": out,
    }
    y, variables = run(Attention(2, use_bias=False))
    assert y.shape == X.shape  # [batch_sizes..., length, features]
    assert shapes(variables)["query"] == {"kernel": (6, 2, 3)}
    assert shapes(variables)["out"] == {"kernel": (2, 3, 6)}


def test_features_must_be_divisible_by_heads():
    with pytest.raises(ValueError, match=r"qkv_features=6 must be divisible by num_heads=4"):
        Attention(4).init(KEY, X)


def test_keys_and_values_default_to_what_is_there():
    layer = Attention(2)
    _, variables = run(layer)
    apply = jax.jit(lambda *a: layer.apply(variables, *a))
    near(apply(X), apply(X, X, X))
    near(apply(X, Y), apply(X, Y, Y))
    different(apply(X, Y), apply(X, Y, 2 * Y))
    with pytest.warns(DeprecationWarning, match="inputs_kv"):
        near(layer.apply(variables, X, inputs_kv=Y), apply(X, Y))
    with pytest.raises(ValueError, match="`inputs_k` is None"):
        layer.apply(variables, X, None, Y)


def test_types_of_computation_and_of_parameters():
    y, variables = run(Attention(2, dtype=jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    y, variables = run(Attention(2, param_dtype=jnp.bfloat16))
    assert y.dtype == jnp.float32  # inferred from input and parameters
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.bfloat16)}
    y, _ = run(Attention(2, dtype=jnp.bfloat16, force_fp32_for_softmax=True))
    assert y.dtype == jnp.bfloat16


def test_initializers():
    ones, twos = nn.initializers.ones, nn.initializers.constant(2.0)
    layer = Attention(2, kernel_init=ones, bias_init=twos)

    def values(layer):
        params = run(layer)[1]["params"]
        return {n: (p["kernel"].max().item(), p["bias"].max().item()) for n, p in params.items()}

    assert values(layer) == dict.fromkeys(("query", "key", "value", "out"), (1, 2))
    assert values(layer.clone(out_kernel_init=twos, out_bias_init=ones))["out"] == (2, 1)


def test_precision_reaches_every_product():
    layer = Attention(2, precision="highest")
    program = str(jax.make_jaxpr(lambda x: layer.init_with_output(KEY, x)[0])(X))
    assert program.count("dot_general") == program.count("HIGHEST") / 2 == 6


def test_normalize_qk():
    for normalize in (True, False):
        layer = Attention(2, normalize_qk=normalize)
        y, variables = run(layer)
        params = dict(variables["params"])
        if normalize:
            assert shapes(variables)["query_ln"] == shapes(variables)["key_ln"] == {"scale": (3,)}
        params["query"] = jax.tree.map(lambda p: 3 * p, params["query"])  # scales the queries
        scaled = layer.apply({"params": params}, X)
        assert np.allclose(y, scaled, atol=1e-3) == normalize


def test_attention_fn_takes_query_key_and_value():
    seen = []

    def attend(query, key, value, mask=None):
        seen.append((query.shape, key.shape, value.shape))
        return query

    y, _ = run(Attention(2, attention_fn=attend), X, Y)
    assert seen == [((2, 3, 5, 2, 3), (2, 3, 2, 2, 3), (2, 3, 2, 2, 3))]
    assert y.shape == X.shape


def test_overrides_of_products():
    calls = []

    def counted(name, function):
        def call(*args, **kwargs):
            calls.append(name)
            return function(*args, **kwargs)

        return call

    dot, einsum = jax.lax.dot_general, jnp.einsum
    expected, _ = run(Attention(2))
    for fields, count in (
        ({"qkv_dot_general": counted("a", dot)}, ["a"] * 3),
        ({"out_dot_general": counted("b", dot)}, ["b"]),
        ({"qkv_dot_general_cls": lambda: counted("c", dot)}, ["c"] * 3),
        ({"out_dot_general_cls": lambda: counted("d", dot)}, ["d"]),
        (
            {
                "qk_attn_weights_einsum_cls": lambda: counted("e", einsum),
                "attn_weights_value_einsum_cls": lambda: counted("f", einsum),
            },
            ["e", "f"],
        ),
    ):
        calls.clear()
        y, _ = run(Attention(2, **fields))
        near(y, expected)
        assert calls == count


def test_where_the_mask_is_false_nothing_is_seen():
    layer = Attention(2)
    _, variables = run(layer, X, X)
    mask = jnp.ones((2, 3, 1, 5, 5), bool).at[..., 3:].set(False)
    masked = layer.apply(variables, X, mask=mask)
    near(masked, layer.apply(variables, X, X[:, :, :3]))
    different(masked, layer.apply(variables, X))


def test_dropout_only_where_not_deterministic():
    layer = Attention(2, dropout_rate=0.5)
    plain, variables = run(Attention(2))
    apply = jax.jit(layer.apply, static_argnames="deterministic")
    near(apply(variables, X, deterministic=True), plain)
    one, other = ({"dropout": jax.random.key(i)} for i in (1, 2))
    dropped = apply(variables, X, deterministic=False, rngs=one)
    different(dropped, plain)
    different(dropped, apply(variables, X, deterministic=False, rngs=other))
    near(layer.clone(deterministic=False).apply(variables, X, rngs=one), dropped)


def test_dropout_may_be_shared_along_the_batch():
    x = jnp.broadcast_to(X[:1, :1], X.shape)
    for broadcast in (True, False):
        layer = Attention(2, dropout_rate=0.5, deterministic=False, broadcast_dropout=broadcast)
        y, _ = run(layer, x)
        assert np.allclose(y, y[:1, :1], atol=1e-6) == broadcast


def test_weights_are_sown_as_intermediates():
    layer = Attention(2)
    _, variables = run(layer)
    y, state = layer.apply(variables, X, sow_weights=True, mutable=["intermediates"])
    (weights,) = state["intermediates"]["attention_weights"]
    assert weights.shape == (2, 3, 2, 5, 5)
    near(weights.sum(-1), jnp.ones((2, 3, 2, 5)))
    near(y, layer.apply(variables, X, sow_weights=True))  # not mutable: nothing is sown
    assert not layer.apply(variables, X, mutable=["intermediates"])[1]


def test_decode_prepares_and_uses_a_cache():
    layer = Attention(2, decode=True)
    y, variables = run(layer)
    mask = nn.make_causal_mask(X[..., 0])
    expected = Attention(2).apply({"params": variables["params"]}, X, mask=mask)
    cache = variables["cache"]
    assert set(cache) == {"cached_key", "cached_value", "cache_index"}
    step = jax.jit(
        lambda cache, x: layer.apply(
            {"params": variables["params"], "cache": cache}, x, mutable=["cache"]
        )
    )
    for i in range(5):
        y, state = step(cache, X[:, :, i : i + 1])
        cache = state["cache"]
        near(y, expected[:, :, i : i + 1])
    assert cache["cache_index"] == 5


def test_the_alias_and_its_name():
    class Both(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.MultiHeadDotProductAttention(2)(nn.MultiHeadAttention(2)(x))

    assert issubclass(nn.MultiHeadAttention, nn.MultiHeadDotProductAttention)
    params = run(Both())[1]["params"]
    assert set(params) == {"MultiHeadAttention_0", "MultiHeadDotProductAttention_0"}
    # The keys depend on the name, so the parameters differ.
    kernels = [p["query"]["kernel"] for p in params.values()]
    different(*kernels)
    # As outermost modules, both draw the same parameters.
    jax.tree.map(np.testing.assert_array_equal, run(nn.MultiHeadAttention(2)), run(Attention(2)))


def test_self_attention_is_deprecated_and_the_same():
    mask = nn.make_causal_mask(X[..., 0])
    with pytest.warns(DeprecationWarning, match="MultiHeadDotProductAttention"):
        y, variables = nn.SelfAttention(2).init_with_output(KEY, X, mask)
    near(y, Attention(2).apply(variables, X, mask=mask))
    layer = nn.SelfAttention(2, dropout_rate=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near(layer.apply(variables, X, mask, True), y)
        different(layer.apply(variables, X, mask, False, rngs={"dropout": KEY}), y)


# The functions.

Q = sample((3, 4, 2, 6), seed=3)
K = sample((3, 5, 2, 6), seed=4)
V = sample((3, 5, 2, 7), seed=5)


def test_weights_times_values_is_the_attention():
    mask = jnp.ones((3, 1, 4, 5)).at[..., 2:].set(0)
    bias = sample((2, 4, 5))
    weights = nn.dot_product_attention_weights(Q, K, bias, mask)
    assert weights.shape == (3, 2, 4, 5)
    assert not np.any(weights[..., 2:])
    y = nn.dot_product_attention(Q, K, V, bias, mask)
    assert y.shape == (3, 4, 2, 7)
    near(y, jnp.einsum("bhqk,bkhd->bqhd", weights, V))
    # "Computed for given queries and keys": softmax of their scaled products.
    logits = jnp.einsum("bqhd,bkhd->bhqk", Q, K) / jnp.sqrt(6.0) + bias
    near(weights, jax.nn.softmax(jnp.where(mask > 0, logits, -jnp.inf)))


def test_a_bias_can_be_a_mask():
    mask = jnp.tril(jnp.ones((4, 5)))
    bias = jnp.where(mask > 0, 0.0, -1e30)
    near(nn.dot_product_attention(Q, K, V, bias), nn.dot_product_attention(Q, K, V, mask=mask))


def test_no_batch_dimensions_are_needed():
    near(nn.dot_product_attention(Q[0], K[0], V[0]), nn.dot_product_attention(Q, K, V)[0])
    weights = nn.dot_product_attention_weights(Q, K)
    near(nn.dot_product_attention_weights(Q[0], K[0]), weights[0])


def test_dropout_of_the_functions():
    options = {"dropout_rng": KEY, "dropout_rate": 0.5}
    plain = nn.dot_product_attention_weights(Q, K)
    for broadcast in (True, False):
        dropped = nn.dot_product_attention_weights(Q, K, broadcast_dropout=broadcast, **options)
        coins = np.asarray(dropped) == 0
        assert (coins == coins[:1]).all() == broadcast
        near(dropped[~coins], 2 * plain[~coins])
    near(nn.dot_product_attention_weights(Q, K, deterministic=True, **options), plain)


def test_types_of_the_functions():
    half = nn.dot_product_attention(Q, K, V, dtype=jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    wide = nn.dot_product_attention(Q, K, V, dtype=jnp.bfloat16, force_fp32_for_softmax=True)
    assert wide.dtype == jnp.float32
    mixed = nn.dot_product_attention(Q.astype(jnp.bfloat16), K, V)
    assert mixed.dtype == jnp.float32


def test_weights_are_sown_in_the_module_given():
    class Model(nn.Module):
        def __call__(self, q, k, v):
            return nn.dot_product_attention(q, k, v, module=self)

    y, state = Model().apply({}, Q, K, V, mutable=["intermediates"])
    (weights,) = state["intermediates"]["attention_weights"]
    near(weights, nn.dot_product_attention_weights(Q, K))
    assert Model().apply({}, Q, K, V).shape == y.shape


def test_einsums_and_what_excludes_them():
    seen = []

    def einsum(equation, *operands):
        seen.append(equation)
        return jnp.einsum(equation, *operands)

    near(
        nn.dot_product_attention_weights(Q, K, einsum=einsum),
        nn.dot_product_attention_weights(Q, K),
    )
    y = nn.dot_product_attention(
        Q, K, V, qk_attn_weights_einsum=einsum, attn_weights_value_einsum=einsum
    )
    near(y, nn.dot_product_attention(Q, K, V))
    assert len(seen) == 3
    both = {"qk_attn_weights_einsum": einsum, "attn_weights_value_einsum": einsum}
    for other in ({"precision": "highest"}, {"einsum_dot_general": jax.lax.dot_general}):
        with pytest.raises(ValueError, match="nothing would use"):
            nn.dot_product_attention_weights(Q, K, einsum=einsum, **other)
        with pytest.raises(ValueError, match="nothing would use"):
            nn.dot_product_attention(Q, K, V, **both, **other)
        near(nn.dot_product_attention(Q, K, V, **other), y)


# Masks.


def test_make_attention_mask():
    queries, keys = jnp.array([[1, 2, 0]]), jnp.array([[1, 0, 3, 4]])
    mask = nn.make_attention_mask(queries > 0, keys > 0)
    assert (mask.shape, mask.dtype) == ((1, 1, 3, 4), jnp.float32)
    np.testing.assert_array_equal(mask[0, 0], np.outer([1, 1, 0], [1, 0, 1, 1]))
    mask = nn.make_attention_mask(queries, keys, jnp.greater_equal, 2, bool)
    assert (mask.shape, mask.dtype) == ((1, 1, 1, 1, 3, 4), bool)
    np.testing.assert_array_equal(mask[0, 0, 0, 0], np.greater_equal.outer([1, 2, 0], [1, 0, 3, 4]))


def test_make_causal_mask():
    mask = nn.make_causal_mask(jnp.zeros((2, 4)))
    assert (mask.shape, mask.dtype) == ((2, 1, 4, 4), jnp.float32)
    np.testing.assert_array_equal(mask[1, 0], np.tril(np.ones((4, 4))))
    mask = nn.make_causal_mask(jnp.zeros(4), 1, jnp.int8)
    assert (mask.shape, mask.dtype) == ((1, 1, 4, 4), jnp.int8)
