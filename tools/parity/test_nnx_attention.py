"""nnx attention gives Flax's results, bit for bit where the sequence of operations is the same.

The same layer is built from both libraries. Parameters, streams' counts and caches are compared bit
by bit, and so are outputs if the operations are the same ones (jax's attention for short sequences,
the explicit formula with dropout or sown weights). Both libraries run eagerly.
"""

import functools
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

import comparing
from linnet.layers_attention import nnx as layers
from linnet.module_core import nnx

pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning"),
]

X = jax.random.normal(jax.random.key(1), (2, 6, 8))
Z = jax.random.normal(jax.random.key(2), (2, 5, 3))
CAUSAL = jnp.tril(jnp.ones((1, 1, 6, 6)))
BOTH = ((nnx, layers), (flax_nnx, flax_nnx))


def data(value):
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return value.dtype, value.shape, np.asarray(value).tobytes()


identical = functools.partial(comparing.identical, weak_types=False)


def state_of(library, module):
    return [
        (path, type(leaf).__name__, data(leaf.get_value()))
        for path, leaf in library.to_flat_state(library.state(module))
    ]


def pair(*args, **options):
    init = jax.nn.initializers.normal(0.3)
    made = [
        package.MultiHeadAttention(*args, bias_init=init, rngs=library.Rngs(3), **options)
        for library, package in BOTH
    ]
    assert state_of(nnx, made[0]) == state_of(flax_nnx, made[1])
    return made


bf16 = jnp.bfloat16
CASES = [
    ({}, (X,), {}),
    ({}, (X,), {"is_causal": True}),
    ({"use_bias": False, "qkv_features": 12, "out_features": 5}, (X,), {}),
    ({"normalize_qk": True}, (X,), {}),
    ({"num_kv_heads": 2}, (X,), {"mask": CAUSAL}),
    ({"in_kv_features": 3}, (X, Z, 2 * Z), {}),
    ({"dtype": bf16}, (X,), {}),
    ({"param_dtype": bf16}, (X.astype(bf16),), {"is_causal": True}),
    ({}, (X[0],), {}),
    ({}, (X[None, :, None],), {}),
    ({"out_kernel_init": jax.nn.initializers.ones}, (X,), {}),
]


@pytest.mark.parametrize(("options", "inputs", "call"), CASES)
def test_outputs_are_bit_for_bit_the_same(options, inputs, call):
    ours, theirs = pair(4, 8, decode=False, **options)
    identical(ours(*inputs, **call), theirs(*inputs, **call))


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, {"sow_weights": True}),
        ({"num_kv_heads": 2}, {"sow_weights": True, "is_causal": True}),
        ({"num_kv_heads": 2}, {"sow_weights": True, "mask": CAUSAL}),
        ({"dropout_rate": 0.5}, {}),
        ({"dropout_rate": 0.5, "broadcast_dropout": False}, {"mask": CAUSAL}),
        ({"dropout_rate": 0.5, "deterministic": True}, {}),
    ],
    ids=str,
)
def test_the_explicit_path(options, call):
    made = pair(4, 8, decode=False, **{"deterministic": False, **options})
    for _ in range(2):
        ours, theirs = (layer(X, **call) for layer in made)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)
    sown = [getattr(layer, "attention_weights", None) for layer in made]
    if "sow_weights" in call:
        ours, theirs = (variable.get_value() for variable in sown)
        assert len(ours) == len(theirs) == 2
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-6)
        for layer in made:
            del layer.attention_weights
    else:
        assert sown == [None, None]
    assert state_of(nnx, made[0]) == state_of(flax_nnx, made[1])


@pytest.mark.parametrize("keep", [True, False])
def test_streams_count_alike(keep):
    counts = []
    for library, package in BOTH:
        rngs = library.Rngs(0, dropout=1)
        layer = package.MultiHeadAttention(
            2, 8, dropout_rate=0.5, deterministic=False, decode=False, keep_rngs=keep, rngs=rngs
        )
        y = layer(X) if keep else layer(X, rngs=rngs)
        z = layer(X, rngs=rngs.dropout)
        counts.append(
            (
                int(rngs.default.count.get_value()),
                int(rngs.dropout.count.get_value()),
                None if layer.rngs is None else (layer.rngs.tag, int(layer.rngs.count.get_value())),
                np.asarray(y).round(4).tolist(),
                np.asarray(z).round(4).tolist(),
            )
        )
    np.testing.assert_allclose(counts[0][3], counts[1][3], atol=2e-4)
    np.testing.assert_allclose(counts[0][4], counts[1][4], atol=2e-4)
    assert counts[0][:3] == counts[1][:3]


@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 2, "normalize_qk": True}], ids=str)
def test_decoding_token_by_token(options):
    made = pair(4, 8, decode=True, **options)
    for layer in made:
        layer.init_cache((2, 2, 8))
    for i in range(2):
        identical(*(layer(X[:, i : i + 1]) for layer in made))
        assert state_of(nnx, made[0]) == state_of(flax_nnx, made[1])


def test_functions_are_bit_for_bit_the_same():
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, 4, 8)) for i in range(3))
    bias = jax.random.normal(jax.random.key(4), (2, 4, 5, 5))
    key = jax.random.key(7)
    cases = [
        ((q, k, v), {}),
        ((q, k, v, bias), {"is_causal": True}),
        ((q, k, v), {"dtype": bf16}),
        ((q, k, v), {"dropout_rate": 0.4, "dropout_rng": key}),
        ((q, k, v, bias, bias > 0), {"dropout_rate": 0.4, "deterministic": True}),
    ]
    for args, call in cases:
        identical(
            layers.dot_product_attention(*args, **call),
            flax_nnx.dot_product_attention(*args, **call),
        )
    words = jnp.array([[1, 1, 0]])
    identical(layers.make_attention_mask(words, words), flax_nnx.make_attention_mask(words, words))
    identical(layers.make_causal_mask(words), flax_nnx.make_causal_mask(words))
    causal = layers.make_causal_mask(words)
    identical(
        layers.combine_masks(causal, None, 1 - causal),
        flax_nnx.combine_masks(causal, None, 1 - causal),
    )


def test_weights_are_those_of_flax_up_to_rounding():
    q, k = (jax.random.normal(jax.random.key(i), (2, 5, 4, 8)) for i in range(2))
    calls = [{}, {"mask": jnp.ones((4, 5, 5)).at[:, :, 2].set(0)}]
    for call in calls:
        np.testing.assert_allclose(
            layers.dot_product_attention_weights(q, k, **call),
            flax_nnx.nn.attention.dot_product_attention_weights(q, k, **call),
            rtol=1e-5,
            atol=1e-6,
        )


OF_LOGITS = {"window", "scale", "soft_cap"}
SEGMENTS = {"segment_ids", "key_segment_ids"}
WIDER = {
    "MultiHeadAttention.__init__": OF_LOGITS
    | {"implementation", "rotary", "use_sinks", "sinks_init", "sinks_metadata"}
    | {"use_out_bias", "cache_options"},
    "MultiHeadAttention.__call__": SEGMENTS | {"bias", "positions", "lengths"},
    "dot_product_attention": OF_LOGITS
    | SEGMENTS
    | {"query_offset", "key_positions", "sinks", "implementation"},
}


@pytest.mark.parametrize(
    "name",
    [
        "MultiHeadAttention.__init__",
        "MultiHeadAttention.__call__",
        "MultiHeadAttention.init_cache",
        "MultiHeadAttention.set_view",
        "dot_product_attention",
        "make_attention_mask",
        "make_causal_mask",
        "combine_masks",
    ],
)
def test_signatures(name):
    signatures = []
    for package in (layers, flax_nnx):
        found = package
        for part in name.split("."):
            found = getattr(found, part)
        signatures.append(inspect.signature(found).parameters)
    ours, theirs = signatures
    assert [p for p in ours if p not in WIDER.get(name, ())] == list(theirs)
    for p in theirs:
        assert ours[p].kind == theirs[p].kind
        a, b = ours[p].default, theirs[p].default
        if callable(a) and a is not inspect.Parameter.empty and not isinstance(a, type):
            assert callable(b)  # initializers, functions, promotion
        else:
            assert a == b


def test_errors_of_both():
    for library, package in BOTH:
        rngs = library.Rngs(0)
        made = package.MultiHeadAttention(2, 8, rngs=rngs)
        with pytest.raises(ValueError, match="decode"):
            made(X)
        with pytest.raises(ValueError, match="(?i)cache"):
            made(X[:, :1], decode=True)
        dropping = package.MultiHeadAttention(
            2, 8, dropout_rate=0.5, decode=False, keep_rngs=False, rngs=rngs
        )
        with pytest.raises(ValueError, match="deterministic"):
            dropping(X)
        with pytest.raises(ValueError, match="rngs"):
            dropping(X, deterministic=False)
        with pytest.raises(ValueError, match="divisible"):
            package.MultiHeadAttention(3, 8, rngs=rngs)
        with pytest.raises(ValueError, match="divisible"):
            package.MultiHeadAttention(4, 8, num_kv_heads=3, rngs=rngs)
        with pytest.raises(ValueError, match="inputs_v"):
            made(X, None, X, decode=False)


def test_difference_the_end_of_the_cache():
    """Flax overwrites the last position, and raises an error for several tokens in one call."""
    ours, theirs = pair(4, 8, decode=True)
    for layer in (ours, theirs):
        layer.init_cache((2, 2, 8))
    for _ in range(3):
        theirs(X[:, :1])
    assert int(theirs.cache_index.get_value()) == 3
    for _ in range(2):
        ours(X[:, :1])
    with pytest.raises(ValueError, match="The cache is full"):
        ours(X[:, :1])
    with pytest.raises(ValueError, match="cache shape"):
        theirs(X[:, :2])


@pytest.fixture
def x64():
    config = jax.config
    config.update("jax_enable_x64", True)
    yield
    config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("x64")
def test_difference_float64():
    """By using jax's attention, Flax rounds the softmax to float32."""
    x = np.random.default_rng(0).normal(size=(5, 1, 8))
    logits = np.einsum("qhd,khd->hqk", x, x) / np.sqrt(8)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.einsum("hqk,khd->qhd", weights, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = flax_nnx.dot_product_attention(jnp.asarray(x), jnp.asarray(x), jnp.asarray(x))
    ours = layers.dot_product_attention(jnp.asarray(x), jnp.asarray(x), jnp.asarray(x))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert not np.allclose(theirs, expected, rtol=1e-10)
