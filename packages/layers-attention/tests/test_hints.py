"""Every hint of this package, followed to the letter."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.layers_attention import functional, linen, nnx
from linnet.layers_attention.functional import CacheOptions, Rotary
from linnet.module_core.nnx import Rngs

SOURCES = Path(functional.__file__).parents[1]
KEY = jax.random.key(0)
X = jnp.ones((1, 3, 4))
Q = jnp.ones((1, 3, 2, 4))
IDS = jnp.zeros(3, jnp.int32)
EINSUM = functools.partial(jax.numpy.einsum, precision="highest")


# Arguments are checked in a trace as well, and nothing is compiled.
def attention(*arrays, **options):
    return jax.eval_shape(lambda: functional.dot_product_attention(*arrays, **options))


def layer(inputs_k=None, inputs_v=None, x=X, heads=2, apply=None, **options):
    module = linen.MultiHeadDotProductAttention(heads, **options)
    rngs = {"params": KEY, "dropout": KEY}
    return jax.eval_shape(lambda: module.init(rngs, x, inputs_k, inputs_v, **(apply or {})))


def simple(query, key, value):
    return query


def with_mask(query, key, value, mask=None):
    return query


def decoding(tokens, inputs_k=None, length=3, positions=None, **fields):
    module = linen.MultiHeadDotProductAttention(2, decode=True, **fields)
    variables = module.init(KEY, jnp.ones((1, length, 4)))
    for x in tokens:
        _, cache = module.apply(variables, x, inputs_k, positions=positions, mutable=["cache"])
        variables = {**variables, **cache}
    return variables


def decoding_nnx(init_cache):
    module = nnx.MultiHeadAttention(2, 4, decode=True, rngs=Rngs(0))
    if init_cache:
        module.init_cache((1, 3, 4))
    return module(X[:, :1])


def appended(lengths, per_row=False):
    cache = functional.init_cache((1, 3, 2, 4), (1, 3, 2, 4), per_row=per_row)
    return functional.append_to_cache(cache, Q, Q, lengths=lengths)


TOKEN = X[:, :1]

REMEDIES = [
    Remedy(
        "Add the parameter and use it, or leave attention_fn at its default.",
        lambda: layer(attention_fn=simple, apply={"mask": jnp.ones((1, 2, 3, 3), bool)}),
        lambda: [
            layer(attention_fn=with_mask, apply={"mask": jnp.ones((1, 2, 3, 3), bool)}),
            layer(apply={"mask": jnp.ones((1, 2, 3, 3), bool)}),
        ],
    ),
    Remedy(
        "For a single head, add a dimension of size 1 before the last.",
        lambda: attention(X[0], X[0], X[0, :, 0]),
        lambda: attention(X[0, :, None], X[0, :, None], X[0, :, None]),
    ),
    Remedy(
        "The batch dimensions are all but the last three (length, heads, depth).",
        lambda: attention(Q, Q[0], Q[0]),
        lambda: attention(Q, Q, Q),
    ),
    Remedy(
        "groups of query heads may share a key head.",
        lambda: attention(jnp.ones((3, 3, 4)), jnp.ones((3, 2, 4)), jnp.ones((3, 2, 4))),
        lambda: attention(jnp.ones((3, 4, 4)), jnp.ones((3, 2, 4)), jnp.ones((3, 2, 4))),
    ),
    Remedy(
        "`make_attention_mask` adds it: (*batch, 1, queries, keys).",
        lambda: attention(Q, Q, Q, mask=jnp.ones((5, 3, 3), bool)),
        lambda: attention(Q, Q, Q, mask=functional.make_attention_mask(X[..., 0], X[..., 0])),
    ),
    Remedy(
        "'auto' chooses by the length.",
        lambda: attention(Q, Q, Q, implementation="flash"),
        lambda: [attention(Q, Q, Q, implementation=name) for name in ("exact", "chunked", "auto")],
    ),
    Remedy(
        "implementation='exact' can.",
        lambda: attention(
            Q,
            Q,
            Q,
            implementation="chunked",
            qk_attn_weights_einsum=EINSUM,
            attn_weights_value_einsum=EINSUM,
        ),
        lambda: attention(
            Q,
            Q,
            Q,
            implementation="exact",
            qk_attn_weights_einsum=EINSUM,
            attn_weights_value_einsum=EINSUM,
        ),
    ),
    Remedy(
        "and a new one at each step, or pass deterministic=True to drop nothing.",
        lambda: attention(Q, Q, Q, dropout_rate=0.5, deterministic=False),
        lambda: [
            attention(
                Q, Q, Q, dropout_rate=0.5, dropout_rng=jax.random.key(0), deterministic=False
            ),
            attention(Q, Q, Q, dropout_rate=0.5, deterministic=True),
        ],
    ),
    Remedy(
        "features, or a different number of heads; by default there are as many features as",
        lambda: layer(heads=3),
        lambda: [layer(heads=3, qkv_features=3), layer(heads=3, qkv_features=6), layer(heads=2)],
    ),
    Remedy(
        "Each head of keys and values serves the same number of query heads.",
        lambda: layer(heads=4, num_kv_heads=3),
        lambda: layer(heads=4, num_kv_heads=2),
    ),
    Remedy(
        "To use one array for both, pass it as inputs_k and leave inputs_v out.",
        lambda: layer(None, X),
        lambda: layer(X),
    ),
    Remedy(
        "For a single position, add a dimension of size 1 before the features.",
        lambda: layer(x=X[0, 0]),
        lambda: layer(x=X[0, 0][None, :]),
    ),
    Remedy(
        "Pass inputs_q alone.",
        lambda: decoding([TOKEN], inputs_k=X),
        lambda: decoding([TOKEN]),
    ),
    Remedy(
        "Pass jax.numpy.einsum for the one that should not change.",
        lambda: attention(Q, Q, Q, qk_attn_weights_einsum=EINSUM),
        lambda: attention(
            Q, Q, Q, qk_attn_weights_einsum=EINSUM, attn_weights_value_einsum=jax.numpy.einsum
        ),
    ),
    Remedy(
        "Pass the precision to the einsums, e.g. functools.partial(jax.numpy.einsum, precision=",
        lambda: attention(
            Q,
            Q,
            Q,
            precision="highest",
            qk_attn_weights_einsum=jax.numpy.einsum,
            attn_weights_value_einsum=jax.numpy.einsum,
        ),
        lambda: attention(Q, Q, Q, qk_attn_weights_einsum=EINSUM, attn_weights_value_einsum=EINSUM),
    ),
    Remedy(
        "The cache keeps the batch size, heads and depth of the input that it was created for",
        lambda: decoding([jnp.ones((2, 1, 4))]),
        lambda: decoding([jnp.ones((1, 1, 4))]),
    ),
    Remedy(
        "Initialize it with a longer input, or start over with an empty one.",
        lambda: decoding([X, TOKEN]),
        lambda: [decoding([X, TOKEN], length=4), decoding([X])],
    ),
    Remedy(
        "Pass the precision to the einsum, e.g. functools.partial(jax.numpy.einsum, precision=",
        lambda: functional.dot_product_attention_weights(
            Q, Q, precision="highest", einsum=jax.numpy.einsum
        ),
        lambda: functional.dot_product_attention_weights(Q, Q, einsum=EINSUM),
    ),
    Remedy(
        "implementation='auto' runs everywhere.",
        lambda: attention(Q, Q, Q, implementation="cudnn"),
        lambda: attention(Q, Q, Q, implementation="auto"),
    ),
    Remedy(
        "All dimensions but the last are batch dimensions.",
        lambda: functional.make_attention_mask(jnp.ones((2, 3)), jnp.ones((4, 3))),
        lambda: functional.make_attention_mask(jnp.ones((2, 3)), jnp.ones((2, 4))),
    ),
    Remedy(
        "Add dimensions of size 1: which dimensions correspond cannot be guessed.",
        lambda: functional.combine_masks(jnp.ones((1, 3, 3)), jnp.ones((3, 3))),
        lambda: functional.combine_masks(jnp.ones((1, 3, 3)), jnp.ones((3, 3))[None]),
    ),
    Remedy(
        "inputs_kv is deprecated: pass inputs_k, and inputs_v if it differs.",
        lambda: layer(X, apply={"inputs_kv": X}),
        lambda: layer(X),
    ),
    Remedy(
        "Call init_cache((*batch, maximum length, features)) before the first token.",
        lambda: decoding_nnx(init_cache=False),
        lambda: decoding_nnx(init_cache=True),
    ),
    Remedy(
        "Pass the layer a window, or CacheOptions(ring=False), which is the default.",
        lambda: layer(decode=True, cache_options=CacheOptions(ring=True)),
        lambda: [
            layer(decode=True, cache_options=CacheOptions(ring=True), window=2),
            layer(decode=True, cache_options=CacheOptions(ring=False)),
        ],
    ),
    Remedy(
        "Make the cache with per_row=True.",
        lambda: appended(lengths=jnp.array([1])),
        lambda: appended(lengths=jnp.array([1]), per_row=True),
    ),
    Remedy(
        "Each row has one number of new tokens.",
        lambda: appended(lengths=jnp.array([1, 1]), per_row=True),
        lambda: appended(lengths=jnp.array([1]), per_row=True),
    ),
    Remedy(
        "The tokens of a row come first, followed by padding.",
        lambda: appended(lengths=jnp.array([4]), per_row=True),
        lambda: appended(lengths=jnp.array([2]), per_row=True),
    ),
    Remedy(
        "Construct the layer with rotary=Rotary(), or leave positions out.",
        lambda: layer(apply={"positions": jnp.arange(3)}),
        lambda: [layer(apply={"positions": jnp.arange(3)}, rotary=Rotary()), layer()],
    ),
    Remedy(
        "Make a longer cache, or leave positions out: by default they follow those that",
        lambda: decoding([TOKEN], rotary=Rotary(), positions=jnp.array([3])),
        lambda: [
            decoding([TOKEN], rotary=Rotary(), positions=jnp.array([3]), length=4),
            decoding([TOKEN], rotary=Rotary()),
        ],
    ),
    Remedy(
        "Decode, or hide padding from attention with a mask or segment_ids.",
        lambda: layer(apply={"lengths": jnp.array([2])}),
        lambda: [
            layer(apply={"mask": jnp.array([1, 1, 0])[None, None]}),
            layer(apply={"segment_ids": jnp.array([1, 1, 0])}),
        ],
    ),
    Remedy(
        "None leaves them unbounded.",
        lambda: attention(Q, Q, Q, soft_cap=0),
        lambda: attention(Q, Q, Q, soft_cap=None),
    ),
    Remedy(
        "Each head of the query has one logit.",
        lambda: attention(Q, Q, Q, sinks=jnp.zeros(3)),
        lambda: attention(Q, Q, Q, sinks=jnp.zeros(2)),
    ),
    Remedy(
        "Pass the segments of the keys as key_segment_ids.",
        lambda: attention(Q, Q[:, :2], Q[:, :2], segment_ids=IDS),
        lambda: attention(Q, Q[:, :2], Q[:, :2], segment_ids=IDS, key_segment_ids=IDS[:2]),
    ),
    Remedy(
        "Pass the segments of the queries as segment_ids.",
        lambda: attention(Q, Q, Q, key_segment_ids=IDS),
        lambda: attention(Q, Q, Q, segment_ids=IDS, key_segment_ids=IDS),
    ),
    Remedy(
        "Convert them first, e.g. with `.astype(jax.numpy.int32)`.",
        lambda: attention(Q, Q, Q, segment_ids=IDS.astype(float)),
        lambda: attention(Q, Q, Q, segment_ids=IDS.astype(float).astype(jax.numpy.int32)),
    ),
    Remedy(
        "They are the same for all heads, and each batch entry may have its own.",
        lambda: attention(Q, Q, Q, segment_ids=IDS[:2]),
        lambda: attention(Q, Q, Q, segment_ids=IDS[None]),
    ),
    Remedy(
        "Use heads with an even number of features, or another fraction.",
        lambda: functional.rotary(Q[..., :3]),
        lambda: [functional.rotary(Q), functional.rotary(Q[..., :3], fraction=0.7)],
    ),
    Remedy(
        "It is the part of a head's features that is rotated; 1.0 rotates all.",
        lambda: functional.rotary(Q, fraction=2.0),
        lambda: functional.rotary(Q, fraction=1.0),
    ),
    Remedy(
        "Each token of each batch entry has one position.",
        lambda: functional.rotary(Q, jnp.arange(2)),
        lambda: functional.rotary(Q, jnp.arange(3)),
    ),
    Remedy(
        "Read it with json.loads(path.read_text()).",
        lambda: functional.rotary_from_config('{"rope_theta": 1e6}'),
        lambda: functional.rotary_from_config(json.loads('{"rope_theta": 1e6}')),
    ),
    Remedy(
        "Pass layer_type as one of {}.",
        lambda: functional.rotary_from_config({"rope_parameters": {"sliding_attention": {}}}),
        lambda: functional.rotary_from_config(
            {"rope_parameters": {"sliding_attention": {}}}, layer_type="sliding_attention"
        ),
    ),
    Remedy(
        "Known scalings: {}.",
        lambda: functional.rotary_from_config({"rope_scaling": {"type": "lines", "factor": 2.0}}),
        lambda: functional.rotary_from_config({"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ),
    Remedy(
        "Add it to a copy of the configuration.",
        lambda: functional.rotary_from_config({"rope_scaling": {"type": "linear"}}),
        lambda: functional.rotary_from_config({"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ),
    Remedy(
        "Half of the buckets of a direction hold one distance each, the others a range.",
        lambda: functional.RelativeBuckets(jnp.ones((3, 1))),
        lambda: functional.RelativeBuckets(jnp.ones((4, 1))),
    ),
    Remedy(
        "Use fewer buckets or a larger max_distance, such as 128.",
        lambda: functional.RelativeBuckets(jnp.ones((32, 1)), max_distance=8),
        lambda: [
            functional.RelativeBuckets(jnp.ones((16, 1)), max_distance=8),
            functional.RelativeBuckets(jnp.ones((32, 1)), max_distance=128),
        ],
    ),
]

# Without an NVIDIA GPU the backend is rejected before its dtype and its dropout are checked.
EXPLAINED = [
    "Pass dtype=jax.numpy.bfloat16; the parameters keep their dtype.",
    "Leave them at None, or use implementation='auto'.",
    "Pass a Python number, or use implementation='auto'.",
    "Set dropout_rate=0 or deterministic=True, or use implementation='auto'.",
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES, EXPLAINED) == []
    assert hints.unknown(found, [*(remedy.words for remedy in REMEDIES), *EXPLAINED]) == []
