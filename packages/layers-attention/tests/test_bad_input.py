"""Bad input raises an error that says what was expected, what was passed, and where."""

import re

import jax
import jax.numpy as jnp
import pytest

from linnet.layers_attention import functional, linen, nnx
from linnet.layers_attention.functional import CacheOptions, Rotary
from linnet.module_core import errors
from linnet.module_core.nnx import Rngs

KEY = jax.random.key(0)
X = jnp.ones((2, 4, 8))
Q = jnp.ones((2, 4, 6, 8))

attend = functional.dot_product_attention
weights = functional.dot_product_attention_weights
Layer = linen.MultiHeadAttention


def plain(value):
    """A test's name without addresses, which differ between the processes that collect it."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


def refuses(error, says, call):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, errors.LinnetError)
    message = str(caught.value)
    for text in says:
        assert re.search(re.escape(text), message), f"{text!r} is not in: {message}"


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"num_heads": 3}, ValueError, ("qkv_features=8", "num_heads=3", "6 or 9")),
        ({"num_heads": 0}, ValueError, ("'num_heads'", "at least 1", "got 0")),
        ({"num_heads": 2.0}, TypeError, ("'num_heads'", "2.0 (float)")),
        ({"num_heads": None}, TypeError, ("'num_heads'", "None")),
        ({"num_heads": 2, "qkv_features": -4}, ValueError, ("'qkv_features'", "-4")),
        ({"num_heads": 2, "out_features": -4}, ValueError, ("'out_features'", "-4")),
        ({"num_heads": 4, "num_kv_heads": 3}, ValueError, ("num_heads=4", "num_kv_heads=3")),
        ({"num_heads": 4, "num_kv_heads": 0}, ValueError, ("'num_kv_heads'", "at least 1")),
        ({"num_heads": 4, "num_kv_heads": 8}, ValueError, ("num_heads=4", "num_kv_heads=8")),
        ({"num_heads": 2, "dropout_rate": 1.5}, ValueError, ("'dropout_rate'", "1.5")),
        ({"num_heads": 2, "dropout_rate": None}, TypeError, ("'dropout_rate'", "None")),
        (
            {"num_heads": 2, "dtype": jnp.int32},
            ValueError,
            ("query (DenseGeneral)", "inexact", "int32"),
        ),
        ({"num_heads": 2, "attention_fn": 3}, TypeError, ("'attention_fn'", "got 3")),
        (
            {"num_heads": 2, "implementation": "chunk"},
            ValueError,
            ("'chunk'", "Did you mean 'chunked'", "'auto'"),
        ),
        ({"num_heads": 2, "implementation": "cudnn"}, ValueError, ("NVIDIA GPU", "'cpu'")),
        ({"num_heads": 8, "rotary": Rotary()}, ValueError, ("pairs", "1 of the 1")),
        ({"num_heads": 2, "window": 0}, ValueError, ("'window'", "got 0")),
        ({"num_heads": 2, "soft_cap": -1.0}, ValueError, ("soft_cap=-1.0",)),
        (
            {"num_heads": 2, "decode": True, "cache_options": CacheOptions(ring=True)},
            ValueError,
            ("ring", "window=None"),
        ),
        (
            {"num_heads": 2, "soft_cap": 1.0, "attention_fn": lambda q, k, v: q},
            ValueError,
            ("A soft cap needs", "'soft_cap'"),
        ),
        (
            {"num_heads": 2, "window": 2, "attention_fn": lambda q, k, v: q},
            ValueError,
            ("A window needs", "'mask'"),
        ),
        (
            {"num_heads": 2, "qk_attn_weights_einsum_cls": lambda: jnp.einsum},
            ValueError,
            ("Only one of", "attn_weights_value_einsum"),
        ),
        (
            {
                "num_heads": 2,
                "qk_attn_weights_einsum_cls": lambda: jnp.einsum,
                "attn_weights_value_einsum_cls": lambda: jnp.einsum,
                "precision": "highest",
            },
            ValueError,
            ("nothing would use", "'highest'"),
        ),
        (
            {
                "num_heads": 2,
                "qk_attn_weights_einsum_cls": lambda: jnp.einsum,
                "attn_weights_value_einsum_cls": lambda: jnp.einsum,
                "implementation": "chunked",
            },
            ValueError,
            ("'chunked' cannot", "einsum", "'exact' can"),
        ),
    ],
)
def test_fields(fields, error, says):
    if "DenseGeneral" not in says[0]:
        says = (*says, "MultiHeadAttention: ")
    refuses(error, says, lambda: Layer(**fields).init(KEY, X))


@pytest.mark.parametrize(
    ("inputs", "call", "error", "says"),
    [
        ((X, None, X), {}, ValueError, ("without keys", "`inputs_k` is None")),
        ((X, X), {"inputs_kv": X}, ValueError, ("passed twice", "`inputs_kv`")),
        ((X, X[:1]), {}, ValueError, ("batch dimensions", "(2, 4, 2, 4)", "(1, 4, 2, 4)")),
        ((X, X, X[:, :3]), {}, ValueError, ("same length", "(2, 3, 2, 4)")),
        ((X[0, 0],), {}, ValueError, ("inputs_q", "at least 2 dimensions", "(8,)")),
        ((X, X[0, 0]), {}, ValueError, ("inputs_k", "at least 2 dimensions")),
        ((None,), {}, TypeError, ("inputs_q must be an array of numbers", "None")),
        (("text",), {}, TypeError, ("inputs_q must be an array of numbers", "'text'")),
        ((X,), {"mask": jnp.ones((2, 1, 4, 5))}, ValueError, ("(2, 1, 4, 5)", "(2, 2, 4, 4)")),
        ((X,), {"mask": jnp.ones((2, 4, 4, 4))}, ValueError, ("(2, 4, 4, 4)", "(2, 2, 4, 4)")),
        ((X,), {"mask": jnp.ones((3, 1, 4, 4))}, ValueError, ("mask", "(3, 1, 4, 4)")),
        ((X,), {"mask": "all"}, TypeError, ("mask", "'all'")),
        (
            (X,),
            {"sow_weights": True, "implementation": "chunked"},
            ValueError,
            ("'chunked' cannot", "weights"),
        ),
    ],
)
def test_inputs(inputs, call, error, says):
    layer = Layer(2, implementation=call.get("implementation", "auto"))
    call = {name: value for name, value in call.items() if name != "implementation"}
    refuses(error, (*says, "MultiHeadAttention: "), lambda: layer.init(KEY, *inputs, **call))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: attend(Q[0, 0], Q, Q), ValueError, ("query", "3 dimensions", "(6, 8)")),
        (lambda: attend(Q, Q[:, :, :4], Q[:, :, :4]), ValueError, ("heads", "(2, 4, 4, 8)")),
        (lambda: attend(Q, Q, Q[:, :, :3]), ValueError, ("heads", "(2, 4, 3, 8)")),
        (lambda: attend(Q, Q[:, :, :0], Q[:, :, :0]), ValueError, ("heads", "(2, 4, 0, 8)")),
        (lambda: attend(Q, Q[..., :3], Q), ValueError, ("same depth", "(2, 4, 6, 3)")),
        (lambda: attend(Q, Q, Q[:, :3]), ValueError, ("same length", "(2, 3, 6, 8)")),
        (lambda: attend(Q, Q[:1], Q[:1]), ValueError, ("batch", "(1, 4, 6, 8)")),
        (lambda: attend(Q, Q, [[1], 2]), TypeError, ("value", "[[1], 2]")),
        (lambda: attend(None, Q, Q), TypeError, ("query", "None")),
        (lambda: attend(Q, Q, Q, jnp.ones((4, 3))), ValueError, ("bias", "(4, 3)")),
        (lambda: attend(Q, Q, Q, dropout_rate=0.5), errors.InvalidRngError, ("dropout_rng=None",)),
        (lambda: attend(Q, Q, Q, dropout_rate=-0.5), ValueError, ("-0.5",)),
        (lambda: attend(Q, Q, Q, implementation=None), ValueError, ("None is unknown",)),
        (
            lambda: attend(Q, Q, Q, qk_attn_weights_einsum=jnp.einsum),
            ValueError,
            ("Only one of", "attn_weights_value_einsum"),
        ),
        (
            lambda: attend(Q, Q, Q, implementation="chunked", dtype=jnp.complex64),
            ValueError,
            ("complex64",),
        ),
        (
            lambda: attend(
                Q,
                Q,
                Q,
                implementation="chunked",
                einsum_dot_general=jax.lax.dot_general,
            ),
            ValueError,
            ("use a custom einsum",),
        ),
        (
            lambda: weights(Q, Q, einsum=jnp.einsum, precision="highest"),
            ValueError,
            ("nothing would use", "'highest'"),
        ),
        (lambda: functional.make_causal_mask(1.0), ValueError, ("at least one dimension",)),
        (
            lambda: functional.make_attention_mask(jnp.ones((2, 3)), jnp.ones((3, 5))),
            ValueError,
            ("(2, 3)", "(3, 5)"),
        ),
        (lambda: functional.make_attention_mask(1.0, 1.0), ValueError, ("one dimension",)),
        (
            lambda: functional.combine_masks(jnp.ones((2, 3)), jnp.ones(3)),
            ValueError,
            ("same rank", "[2, 1]"),
        ),
        (
            lambda: functional.combine_masks(jnp.ones((2, 3)), jnp.ones((2, 4))),
            ValueError,
            ("(2, 3)", "(2, 4)"),
        ),
    ],
)
def test_functions(call, error, says):
    refuses(error, says, call)


def test_a_rate_that_is_traced():
    with pytest.raises(TypeError, match="static_argnames"):
        jax.jit(lambda rate: attend(Q, Q, Q, dropout_rate=rate, dropout_rng=KEY))(0.5)


SEGMENTS = jnp.zeros((2, 4), jnp.int32)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"window": 0}, ValueError, ("'window'", "at least 1, got 0")),
        ({"window": (2, -1)}, ValueError, ("'window[1]'", "at least 1, got -1")),
        ({"window": (2, 2, 2)}, TypeError, ("pair (left, right)", "(2, 2, 2)")),
        ({"window": 2.0}, TypeError, ("'window'", "2.0 (float)")),
        ({"soft_cap": 0}, ValueError, ("soft_cap=0", "larger than 0")),
        ({"soft_cap": -30.0}, ValueError, ("soft_cap=-30.0", "larger than 0")),
        ({"soft_cap": float("nan")}, ValueError, ("soft_cap=nan",)),
        ({"soft_cap": "1"}, TypeError, ("soft_cap", "'1'")),
        ({"scale": jnp.ones(2)}, ValueError, ("scale must be a scalar", "(2,)")),
        ({"sinks": jnp.ones(3)}, ValueError, ("sinks", "(6,)", "(3,)")),
        ({"sinks": jnp.ones(6, int)}, errors.DtypeError, ("sinks", "int32")),
        ({"segment_ids": SEGMENTS[:, :3]}, ValueError, ("segment_ids", "(2, 3)", "(2, 4)")),
        ({"segment_ids": jnp.zeros((3, 4), int)}, ValueError, ("segment_ids", "(3, 4)")),
        (
            {"segment_ids": jnp.zeros((2, 4))},
            errors.DtypeError,
            ("segment_ids", "integers", "float32"),
        ),
        ({"segment_ids": SEGMENTS > 0}, errors.DtypeError, ("segment_ids", "integers", "bool")),
        ({"key_segment_ids": SEGMENTS}, ValueError, ("key_segment_ids", "without segment_ids")),
        ({"query_offset": jnp.zeros(3, int)}, ValueError, ("query_offset", "(3,)", "(2,)")),
        ({"query_offset": 1.5}, errors.DtypeError, ("query_offset", "integers", "float32")),
        ({"key_positions": jnp.zeros((2, 3), int)}, ValueError, ("key_positions", "(2, 3)")),
        ({"bias": lambda d: jnp.zeros((2, *d.shape))}, ValueError, ("bias", "(6,", "(2,")),
        ({"bias": lambda d: d[None]}, TypeError, ("bias", "floating-point", "int32")),
        ({"implementation": "cudnn", "soft_cap": 1.0}, ValueError, ("NVIDIA GPU",)),
    ],
    ids=plain,
)
def test_options_of_the_logits(options, error, says):
    refuses(error, says, lambda: attend(Q, Q, Q, **options))


def test_segments_of_other_keys_are_needed():
    keys = Q[:, :3]
    says = ("4 queries", "3 keys", "key_segment_ids")
    refuses(ValueError, says, lambda: attend(Q, keys, keys, segment_ids=SEGMENTS))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: functional.rotary(Q[..., :7]), ValueError, ("pairs", "7 of the 7")),
        (lambda: functional.rotary(Q, fraction=0.1), ValueError, ("0 of the 8",)),
        (lambda: functional.rotary(Q, fraction=1.5), ValueError, ("fraction=1.5", "(0, 1]")),
        (lambda: functional.rotary(Q, base=0.0), ValueError, ("base=0.0",)),
        (lambda: functional.rotary(Q, base=1), ValueError, ("base=1 ",)),
        (lambda: functional.rotary(Q, base="1"), TypeError, ("base", "'1'")),
        (lambda: functional.rotary(Q, scaling=2.0), TypeError, ("scaling", "2.0")),
        (lambda: functional.rotary(Q, jnp.arange(3)), ValueError, ("positions", "(3,)", "(2, 4)")),
        (lambda: functional.rotary(Q, jnp.ones(4, bool)), TypeError, ("positions", "bool")),
        (
            lambda: functional.rotary(Q.astype(int)),
            errors.DtypeError,
            ("x must be floating", "int32"),
        ),
        (lambda: functional.rotary(Q[0, 0]), ValueError, ("at least 3", "(6, 8)")),
        (lambda: functional.LinearScaling(0.0), ValueError, ("factor=0.0",)),
        (lambda: functional.Llama3Scaling(2.0, 4.0, 1.0), ValueError, ("high_frequency_factor=1",)),
        (lambda: functional.YaRNScaling(2.0, 0), ValueError, ("original_length", "got 0")),
        (lambda: functional.YaRNScaling(2.0, 8, 1.0, 2.0), ValueError, ("beta_fast=1.0",)),
        (lambda: functional.LongRoPEScaling((1.0, 0.0)), ValueError, ("factors[1]=0.0",)),
        (
            lambda: functional.rotary(Q, scaling=functional.LongRoPEScaling((1.0,))),
            ValueError,
            ("1 factor,", "expected 4"),
        ),
        (lambda: functional.rotary_from_config({}, length=0), ValueError, ("'length'",)),
        (lambda: functional.alibi(0), ValueError, ("'num_heads'", "at least 1")),
        (lambda: functional.RelativeBuckets(jnp.ones(3)), ValueError, ("(buckets, heads)",)),
        (lambda: functional.RelativeBuckets(jnp.ones((5, 2))), ValueError, ("num_buckets=5",)),
        (
            lambda: functional.RelativeBuckets(jnp.ones((8, 2)), max_distance=2),
            ValueError,
            ("max_distance=2", "larger than 2"),
        ),
    ],
)
def test_positions_and_biases(call, error, says):
    refuses(error, says, call)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"rotary": Rotary(), "num_heads": 8}, ValueError, ("1 of the 1",)),
        ({"window": (0, None)}, ValueError, ("'window[0]'", "got 0")),
        ({"soft_cap": 0}, ValueError, ("soft_cap=0",)),
        ({"scale": "1"}, TypeError, ("scale",)),
        ({"cache_options": CacheOptions(ring=True), "window": (None, 3)}, ValueError, ("ring",)),
    ],
    ids=plain,
)
def test_nnx_constructors(options, error, says):
    options = {"num_heads": 2, **options}
    refuses(error, says, lambda: nnx.MultiHeadAttention(in_features=8, rngs=Rngs(0), **options))


def test_an_error_leaves_the_cache_as_it_was():
    layer = nnx.MultiHeadAttention(
        2, 8, decode=True, rotary=Rotary(), cache_options=CacheOptions(per_row=True), rngs=Rngs(0)
    )
    layer.init_cache(X.shape)
    layer(X[:, :2], lengths=jnp.array([2, 1]))
    before = [layer.cached_key[...], layer.cached_value[...], layer.cache_index[...]]
    for call, says in [
        ({"lengths": jnp.array([1, 3])}, ("from 0 to 2", "[1, 3]")),
        ({"lengths": jnp.array([1])}, ("lengths", "(2,)", "(1,)")),
        ({"lengths": jnp.array([0.5, 1])}, ("lengths", "integers")),
        ({"positions": jnp.array([3, 4])}, ("positions 0 to 3", "from 3 to 4")),
        ({"positions": jnp.array([-1, 0])}, ("positions 0 to 3", "from -1 to 0")),
    ]:
        refuses(ValueError, says, lambda call=call: layer(X[:, :2], **call))
    refuses(ValueError, ("room for 4", "2 are filled, 3 more"), lambda: layer(X[:, :3]))
    refuses(ValueError, ("isn't decoding",), lambda: layer(X, decode=False, lengths=X[:, 0, 0]))
    for old, new in zip(
        before, (layer.cached_key, layer.cached_value, layer.cache_index), strict=True
    ):
        assert (old == new[...]).all()
