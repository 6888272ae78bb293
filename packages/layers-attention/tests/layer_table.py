"""The table of layers: one row per layer, from which every contract test follows.

Unlike the state in a contract, the cache has the batch size of the input that it was made for, so
it is tested in `test_cache.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from contracts import Input, Layer
from linnet.layers_attention import linen
from linnet.layers_attention.functional import Rotary

SEQUENCE = (Input((3, 6, 4)),)
THREE = (Input((3, 6, 4)), Input((3, 5, 3)), Input((3, 5, 2)))
SEGMENTS = np.array([0, 0, 0, 1, 1, 1])
CAUSAL = np.tril(np.ones((6, 6), np.float32))


def projection(inputs, heads, depth):
    return {"kernel": (inputs, heads, depth), "bias": (heads, depth)}


def parameters(inputs, heads, depth, key_heads=None):
    keys = projection(inputs, key_heads or heads, depth)
    return {
        "query": projection(inputs, heads, depth),
        "key": keys,
        "value": keys,
        "out": {"kernel": (heads, depth, inputs), "bias": (inputs,)},
    }


def attention(variables, x):
    params = variables["params"]
    query, key, value = (
        jnp.einsum("bqc,chd->bqhd", x, params[name]["kernel"]) + params[name]["bias"]
        for name in ("query", "key", "value")
    )
    logits = jnp.einsum("bqhd,bkhd->bhqk", query / np.sqrt(2), key)
    weights = jax.nn.softmax(jnp.where(CAUSAL > 0, logits, -1e30))
    y = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
    return jnp.einsum("bqhd,hdc->bqc", y, params["out"]["kernel"]) + params["out"]["bias"]


LAYERS = [
    Layer(
        "MultiHeadDotProductAttention, masked",
        lambda **fields: linen.MultiHeadDotProductAttention(2, **fields),
        SEQUENCE,
        parameters(4, 2, 2),
        call={"mask": CAUSAL},
        by_hand=attention,
    ),
    Layer(
        "MultiHeadDotProductAttention of three inputs, normalized",
        lambda **fields: linen.MultiHeadDotProductAttention(
            2, qkv_features=12, out_features=5, normalize_qk=True, use_bias=False, **fields
        ),
        THREE,
        {
            "query": {"kernel": (4, 2, 6)},
            "key": {"kernel": (3, 2, 6)},
            "value": {"kernel": (2, 2, 6)},
            "query_ln": {"scale": (6,)},
            "key_ln": {"scale": (6,)},
            "out": {"kernel": (2, 6, 5)},
        },
    ),
    Layer(
        "MultiHeadDotProductAttention with dropout",
        lambda **fields: linen.MultiHeadDotProductAttention(2, dropout_rate=0.3, **fields),
        SEQUENCE,
        parameters(4, 2, 2),
        random=True,
        call={"deterministic": False},
    ),
    Layer(
        "MultiHeadAttention in chunks and groups",
        lambda **fields: linen.MultiHeadAttention(
            4, num_kv_heads=2, implementation="chunked", **fields
        ),
        SEQUENCE,
        parameters(4, 4, 1, 2),
        call={"is_causal": True},
    ),
    Layer(
        "MultiHeadAttention in chunks, masked, with dropout",
        lambda **fields: linen.MultiHeadAttention(
            2, implementation="chunked", dropout_rate=0.3, deterministic=False, **fields
        ),
        SEQUENCE,
        parameters(4, 2, 2),
        random=True,
        call={"mask": jnp.asarray(CAUSAL[::-1] > 0)},
    ),
    Layer(
        "MultiHeadAttention with rotary positions, a window, a soft cap and sinks",
        lambda **fields: linen.MultiHeadAttention(
            2,
            rotary=Rotary(),
            window=3,
            soft_cap=2.0,
            scale=0.5,
            use_sinks=True,
            use_out_bias=False,
            **fields,
        ),
        SEQUENCE,
        {
            **parameters(4, 2, 2),
            "sinks": (2,),
            "out": {"kernel": (2, 2, 4)},
        },
        call={"segment_ids": SEGMENTS, "is_causal": True},
    ),
    Layer(
        "MultiHeadAttention with ALiBi in chunks of a window, packed",
        lambda **fields: linen.MultiHeadAttention(
            4, num_kv_heads=2, window=(3, 2), implementation="chunked", **fields
        ),
        SEQUENCE,
        parameters(4, 4, 1, 2),
        call={"bias": linen.alibi(4), "segment_ids": SEGMENTS},
    ),
    Layer(
        "SelfAttention",
        lambda **fields: linen.SelfAttention(2, **fields),
        SEQUENCE,
        parameters(4, 2, 2),
    ),
]
