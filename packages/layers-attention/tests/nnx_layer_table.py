"""The table of nnx layers: one row per layer, over which every contract test runs."""

import jax.numpy as jnp
import numpy as np

from contracts import Input
from linnet.layers_attention import linen, nnx
from linnet.layers_attention.functional import Rotary
from nnx_contracts import Layer, twin

SEQUENCE = (Input((3, 6, 4)),)
TWO = (Input((3, 6, 4)), Input((3, 5, 3)))
SEGMENTS = np.array([0, 0, 0, 1, 1, 1])
CAUSAL = np.tril(np.ones((6, 6), np.float32))


def parameters(inputs, heads, depth, key_heads=None):
    keys = key_heads or heads
    return {
        "query/kernel": (inputs, heads, depth),
        "query/bias": (heads, depth),
        "key/kernel": (inputs, keys, depth),
        "key/bias": (keys, depth),
        "value/kernel": (inputs, keys, depth),
        "value/bias": (keys, depth),
        "out/kernel": (heads, depth, inputs),
        "out/bias": (inputs,),
    }


LAYERS = [
    Layer(
        "MultiHeadAttention, masked",
        lambda rngs, **options: nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs, **options),
        SEQUENCE,
        parameters(4, 2, 2),
        call={"mask": CAUSAL},
        twin=twin(linen.MultiHeadAttention(2), mask=CAUSAL),
    ),
    Layer(
        "MultiHeadAttention of two inputs, normalized",
        lambda rngs, **options: nnx.MultiHeadAttention(
            2,
            4,
            qkv_features=12,
            out_features=5,
            in_kv_features=3,
            normalize_qk=True,
            use_bias=False,
            decode=False,
            rngs=rngs,
            **options,
        ),
        TWO,
        {
            "query/kernel": (4, 2, 6),
            "key/kernel": (3, 2, 6),
            "value/kernel": (3, 2, 6),
            "query_ln/scale": (6,),
            "key_ln/scale": (6,),
            "out/kernel": (2, 6, 5),
        },
        twin=twin(
            linen.MultiHeadAttention(
                2, qkv_features=12, out_features=5, normalize_qk=True, use_bias=False
            )
        ),
    ),
    Layer(
        "MultiHeadAttention with dropout",
        lambda rngs, **options: nnx.MultiHeadAttention(
            2, 4, dropout_rate=0.3, deterministic=False, decode=False, rngs=rngs, **options
        ),
        SEQUENCE,
        parameters(4, 2, 2),
    ),
    Layer(
        "MultiHeadAttention in groups",
        lambda rngs, **options: nnx.MultiHeadAttention(
            4, 4, num_kv_heads=2, decode=False, rngs=rngs, **options
        ),
        SEQUENCE,
        parameters(4, 4, 1, 2),
        call={"is_causal": True},
        twin=twin(linen.MultiHeadAttention(4, num_kv_heads=2), is_causal=True),
    ),
    Layer(
        "MultiHeadAttention in chunks and groups, masked, with dropout",
        lambda rngs, **options: nnx.MultiHeadAttention(
            4,
            4,
            num_kv_heads=2,
            implementation="chunked",
            dropout_rate=0.3,
            deterministic=False,
            decode=False,
            rngs=rngs,
            **options,
        ),
        SEQUENCE,
        parameters(4, 4, 1, 2),
        call={"mask": jnp.asarray(CAUSAL[::-1] > 0)},
    ),
    Layer(
        "MultiHeadAttention with rotary positions, a window, a soft cap and sinks",
        lambda rngs, **options: nnx.MultiHeadAttention(
            2,
            4,
            rotary=Rotary(),
            window=3,
            soft_cap=2.0,
            scale=0.5,
            use_sinks=True,
            use_out_bias=False,
            decode=False,
            rngs=rngs,
            **options,
        ),
        SEQUENCE,
        {
            **{k: v for k, v in parameters(4, 2, 2).items() if k != "out/bias"},
            "sinks": (2,),
        },
        call={"segment_ids": SEGMENTS, "is_causal": True},
        twin=twin(
            linen.MultiHeadAttention(
                2,
                rotary=Rotary(),
                window=3,
                soft_cap=2.0,
                scale=0.5,
                use_sinks=True,
                use_out_bias=False,
            ),
            segment_ids=SEGMENTS,
            is_causal=True,
        ),
    ),
    Layer(
        "MultiHeadAttention with ALiBi in chunks of a window, packed",
        lambda rngs, **options: nnx.MultiHeadAttention(
            4,
            4,
            num_kv_heads=2,
            window=(3, 2),
            implementation="chunked",
            decode=False,
            rngs=rngs,
            **options,
        ),
        SEQUENCE,
        parameters(4, 4, 1, 2),
        call={"bias": linen.alibi(4), "segment_ids": SEGMENTS},
    ),
]
