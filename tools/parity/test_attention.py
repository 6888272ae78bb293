"""Attention with `implementation="exact"` is bit for bit identical to Flax's.

Each case makes the same call with both libraries. Outputs must be identical, eager with eager and
jitted with jitted; gradients must agree up to rounding. Features that only Linnet has are compared
with the same computation written with Flax.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
import linnet.linen
from comparing import identical

bf16, f16, c64 = jnp.bfloat16, jnp.float16, jnp.complex64
KEY = jax.random.key(7)
BOTH = (linnet.linen, flax.linen)


pytestmark = pytest.mark.usefixtures("quick_compilation")


def normal(seed, *shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-5, half=(0.05, 0.05))


def order(tree):
    return [(k, order(v)) for k, v in tree.items()] if isinstance(tree, dict) else None


# The functions.

Q, K, V = normal(0, 2, 5, 4, 6), normal(1, 2, 7, 4, 6), normal(2, 2, 7, 4, 3)
BIAS = normal(3, 2, 4, 5, 7)
MASK = jax.random.bernoulli(KEY, 0.6, (2, 1, 5, 7)).at[:, :, 2].set(False)
DROPOUT = {"dropout_rng": KEY, "dropout_rate": 0.3}


def doubled(*args, **kwargs):
    return 2 * jax.lax.dot_general(*args, **kwargs)


def tripled(*args, **kwargs):
    return 3 * jnp.einsum(*args, **kwargs)


OPTIONS = {
    "plain": {},
    "mask": {"mask": MASK},
    "number mask": {"mask": MASK[0].astype(jnp.float32)},
    "bias": {"bias": BIAS},
    "bias and mask": {"bias": BIAS[0, 0], "mask": MASK},
    "more batch": {"mask": MASK.reshape(2, 1, 1, 5, 7)},
    "float16": {"dtype": f16, "mask": MASK},
    "bfloat16": {"dtype": bf16, "bias": BIAS},
    "float32 softmax": {"dtype": bf16, "force_fp32_for_softmax": True, "mask": MASK},
    "float32 softmax of float32": {"force_fp32_for_softmax": True},
    "dropout": DROPOUT,
    "dropout of each": {**DROPOUT, "broadcast_dropout": False},
    "dropout, bfloat16": {**DROPOUT, "dtype": bf16},
    "dropout, wide softmax": {**DROPOUT, "dtype": bf16, "force_fp32_for_softmax": True},
    "deterministic": {**DROPOUT, "deterministic": True},
    "precision": {"precision": "highest"},
    "dot_general": {"einsum_dot_general": doubled},
    "complex": {"dtype": c64},
}


def compared(run, arrays, *, jitted=True):
    """Checks that outputs are identical, eager and jitted, and that gradients are close."""
    ours, theirs = (run(nn) for nn in BOTH)
    identical(ours(*arrays), theirs(*arrays))
    if not jitted:
        return

    def both(function):
        def loss(*arrays):
            y = function(*arrays)
            leaves = [jnp.sum(jnp.sin(jnp.abs(x).astype(jnp.float32))) for x in jax.tree.leaves(y)]
            return sum(leaves), y

        def forward(*arrays):
            return function(*arrays)

        gradient = jax.grad(loss, tuple(range(len(arrays))), has_aux=True)
        return jax.jit(lambda *a: (forward(*a), gradient(*a)[0]))(*arrays)

    jax.config.update("jax_disable_most_optimizations", False)
    (ours, ours_gradient), (theirs, theirs_gradient) = both(ours), both(theirs)
    jax.config.update("jax_disable_most_optimizations", True)
    identical(ours, theirs)
    near(ours_gradient, theirs_gradient)


def exact(nn):
    return {"implementation": "exact"} if nn is linnet.linen else {}


@pytest.mark.parametrize("name", OPTIONS)
def test_function(name):
    def run(nn):
        return lambda *a: nn.dot_product_attention(*a, **OPTIONS[name], **exact(nn))

    # Compiling takes seconds per case, so only the cases whose arithmetic differs are compiled.
    compared(
        run, (Q, K, V), jitted=name in ("plain", "bias and mask", "dropout of each", "float16")
    )


@pytest.mark.parametrize("name", ["bias and mask", "dropout", "float32 softmax", "dot_general"])
def test_weights(name):
    def run(nn):
        return lambda *a: nn.dot_product_attention_weights(*a, **OPTIONS[name])

    compared(run, (Q, K), jitted=False)


@pytest.mark.parametrize(
    ("shape", "types"),
    [
        ((5, 4, 6), (bf16, bf16, bf16)),
        ((2, 3, 5, 1, 6), (bf16, jnp.float32, f16)),
        ((2, 1, 4, 6), (jnp.float32, bf16, bf16)),
        ((2, 5, 4, 1), (f16, f16, jnp.float32)),
    ],
    ids=str,
)
def test_shapes_and_mixed_types(shape, types):
    arrays = [normal(i, *shape, dtype=d) for i, d in enumerate(types)]
    compared(lambda nn: nn.dot_product_attention, arrays, jitted=False)


def test_positions_of_arguments():
    values = (Q, K, V, BIAS, MASK, False, KEY, 0.3, False, bf16, None, None, True)
    compared(lambda nn: lambda: nn.dot_product_attention(*values), (), jitted=False)
    values = (Q, K, BIAS, MASK, False, KEY, 0.3, False, bf16, None, None, True)
    compared(lambda nn: lambda: nn.dot_product_attention_weights(*values), (), jitted=False)


def test_einsums():
    einsums = {"qk_attn_weights_einsum": tripled, "attn_weights_value_einsum": tripled}
    compared(lambda nn: lambda *a: nn.dot_product_attention(*a, **einsums), (Q, K, V), jitted=False)
    compared(
        lambda nn: lambda *a: nn.dot_product_attention_weights(*a, einsum=tripled),
        (Q, K),
        jitted=False,
    )


def test_masks():
    a, b = jnp.array([[1, 2, 0]]), jnp.array([[2, 0, 1, 1]])
    masks = [
        lambda nn: nn.make_attention_mask(a, b),
        lambda nn: nn.make_attention_mask(a, b, jnp.less, 2, bool),
        lambda nn: nn.make_causal_mask(b),
        lambda nn: nn.make_causal_mask(b[0], 1, jnp.int32),
        lambda nn: nn.combine_masks(a, None, a > 1),
        lambda nn: nn.combine_masks(a, dtype=bool),
        lambda nn: nn.combine_masks(None),
    ]
    for make in masks:
        identical(make(linnet.linen), make(flax.linen))


# The module.

X, Y, Z = normal(4, 2, 5, 8), normal(5, 2, 7, 8), normal(6, 2, 7, 8)
SELF_MASK = jax.random.bernoulli(KEY, 0.6, (2, 1, 5, 5))
drawn = jax.nn.initializers.normal(0.5)


class Case(NamedTuple):
    """Fields of the layer, its inputs, and keyword arguments of the call."""

    fields: dict[str, Any]
    inputs: tuple[Any, ...] = (X,)
    call: Mapping[str, Any] = {}
    name: str = "MultiHeadDotProductAttention"


def fussy(query, key, value, mask=None, dtype=None):
    """An attention function that takes only some of the arguments."""
    weights = jax.nn.sigmoid(jnp.einsum("...qhd,...khd->...hqk", query, key))
    weights = weights if mask is None else weights * mask
    return jnp.einsum("...hqk,...khd->...qhd", weights, value).astype(dtype)


CASES = {
    "plain": Case({}),
    "three inputs": Case({"qkv_features": 12, "out_features": 5}, (X, Y, Z)),
    "two inputs, masked": Case({"bias_init": drawn}, (X, Y), {"mask": MASK}),
    "alias": Case({}, name="MultiHeadAttention"),
    "self-attention": Case({}, (X, SELF_MASK), {}, "SelfAttention"),
    "no bias": Case({"use_bias": False}),
    "initializers": Case(
        {"kernel_init": drawn, "out_kernel_init": jax.nn.initializers.ones, "out_bias_init": drawn}
    ),
    "normalized": Case({"normalize_qk": True, "bias_init": drawn}),
    "normalized, bfloat16": Case({"normalize_qk": True, "dtype": bf16, "param_dtype": bf16}),
    "bfloat16": Case({"dtype": bf16}, (X,), {"mask": SELF_MASK}),
    "narrow parameters": Case({"param_dtype": f16}),
    "wide softmax": Case({"dtype": bf16, "force_fp32_for_softmax": True}),
    "dropout": Case({"dropout_rate": 0.4}, (X,), {"deterministic": False}),
    "dropout of each": Case(
        {"dropout_rate": 0.4, "broadcast_dropout": False, "deterministic": False}
    ),
    "dropout of the caller's": Case(
        {"dropout_rate": 0.4, "deterministic": False}, (X,), {"dropout_rng": jax.random.key(3)}
    ),
    "sown": Case(
        {"dropout_rate": 0.4, "deterministic": False}, (X, Y), {"sow_weights": True, "mask": MASK}
    ),
    "function": Case({"attention_fn": fussy, "dtype": f16}, (X,), {"mask": SELF_MASK}),
    "precision": Case({"precision": "high"}),
    "dot_general": Case({"qkv_dot_general": doubled, "out_dot_general": doubled}),
    "dot_general_cls": Case(
        {"qkv_dot_general_cls": lambda: doubled, "out_dot_general_cls": lambda: doubled}
    ),
    "einsums": Case(
        {
            "qk_attn_weights_einsum_cls": lambda: tripled,
            "attn_weights_value_einsum_cls": lambda: tripled,
        }
    ),
    "more batch": Case({}, (normal(8, 2, 3, 5, 8),)),
}


def layer_of(nn, case):
    options = exact(nn) if case.fields.get("attention_fn") is None else {}
    return getattr(nn, case.name)(num_heads=4, **case.fields, **options)


@pytest.mark.filterwarnings("ignore:SelfAttention (will be|is deprecated):DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_module(name):
    case = CASES[name]
    rngs = {"params": KEY, "dropout": jax.random.key(5)}
    started = [layer_of(nn, case).init_with_output(rngs, *case.inputs, **case.call) for nn in BOTH]
    identical(*started)
    variables = started[1][1]
    assert order(started[0][1]) == order(variables)

    def run(nn):
        layer = layer_of(nn, case)

        def call(params, *inputs):
            return layer.apply(
                {"params": params},
                *inputs,
                **case.call,
                mutable=["intermediates"],
                rngs={"dropout": jax.random.key(6)},
            )

        return call

    ours, theirs = (run(nn) for nn in BOTH)
    params = variables["params"]
    identical(ours(params, *case.inputs), theirs(params, *case.inputs))


@pytest.mark.parametrize("name", ["two inputs, masked", "normalized", "dropout", "sown"])
def test_module_jitted(name):
    case = CASES[name]
    rngs = {"params": KEY, "dropout": jax.random.key(6)}
    params = layer_of(flax.linen, case).init(rngs, *case.inputs, **case.call)

    def run(nn):
        layer = layer_of(nn, case)

        def call(params, *inputs):
            return layer.apply(params, *inputs, **case.call, mutable=["intermediates"], rngs=rngs)

        return call

    compared(run, ({"params": params["params"]}, *case.inputs))


@pytest.mark.parametrize(
    "fields", [{}, {"dtype": bf16, "normalize_qk": True}, {"qkv_features": 12}], ids=str
)
def test_decoding(fields):
    layers = [nn.MultiHeadDotProductAttention(4, decode=True, **fields, **exact(nn)) for nn in BOTH]
    ours, theirs = (layer.init_with_output(KEY, X) for layer in layers)
    identical(ours, theirs)
    params, caches = theirs[1]["params"], [theirs[1]["cache"]] * 2
    mask = jnp.ones((2, 1, 1, 5)).at[1, ..., 1].set(0)
    for i in range(5):
        results = [
            layer.apply(
                {"params": params, "cache": cache},
                X[:, i : i + 1],
                mask=mask if i % 2 else None,
                mutable=["cache"],
            )
            for layer, cache in zip(layers, caches, strict=True)
        ]
        identical(*results)
        caches = [state["cache"] for _, state in results]


# Features that only Linnet has, compared with the same computation written with Flax.


@pytest.mark.parametrize("implementation", ["exact", "chunked"])
def test_causality_groups_and_prefill(implementation):
    theirs = flax.linen.MultiHeadAttention(4)
    params = theirs.init(KEY, X)
    mask = flax.linen.make_causal_mask(X[..., 0])
    expected = theirs.apply(params, X, mask=mask)
    layer = linnet.linen.MultiHeadAttention(4, implementation=implementation)
    near(layer.apply(params, X, is_causal=True), expected)
    near(layer.apply(params, X, mask=mask), expected)
    decoding = layer.clone(decode=True)
    cache = {"cache": decoding.init(KEY, X)["cache"]}
    first, cache = decoding.apply({**params, **cache}, X[:, :3], mutable=["cache"])
    second, _ = decoding.apply({**params, **cache}, X[:, 3:], mutable=["cache"])
    near(jnp.concatenate([first, second], 1), expected)
    key, value = K[:, :, :2], V[:, :, :2]
    ours = linnet.linen.dot_product_attention(Q, key, value, implementation=implementation)
    repeated = (jnp.repeat(x, 2, axis=2) for x in (key, value))
    near(ours, flax.linen.dot_product_attention(Q, *repeated))


def test_long_sequences_come_out_the_same_up_to_rounding():
    """At this length, `auto` chooses chunked attention."""
    arrays = [normal(i, 1, 520, 2, 8) for i in range(3)]
    mask = flax.linen.make_causal_mask(arrays[0][..., 0, 0])

    def run(nn):
        def loss(*a):
            y = nn.dot_product_attention(*a, mask=mask)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*arrays)

    near(run(linnet.linen), run(flax.linen))


def test_past_the_cache_s_end():
    """Flax silently overwrites the last position."""
    theirs, ours = (nn.MultiHeadAttention(4, decode=True) for nn in (flax.linen, linnet.linen))
    variables = theirs.init(KEY, X[:, :1])
    _, state = theirs.apply(variables, X[:, :1], mutable=["cache"])
    full = {**variables, **state}
    y, _ = theirs.apply(full, X[:, 1:2], mutable=["cache"])
    assert np.isfinite(y).all()
    with pytest.raises(ValueError, match="The cache is full"):
        ours.apply(full, X[:, 1:2], mutable=["cache"])


def test_errors_of_both():
    for nn in BOTH:
        layer = nn.MultiHeadDotProductAttention(3)
        with pytest.raises((ValueError, AssertionError)):
            layer.init(KEY, X)
        layer = nn.MultiHeadDotProductAttention(4, dropout_rate=0.5)
        with pytest.raises(ValueError):  # noqa: PT011  (their messages are their own)
            layer.init(KEY, X)
        with pytest.raises(ValueError):  # noqa: PT011
            layer.init(KEY, X, None, X, deterministic=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = nn.MultiHeadDotProductAttention(4).init_with_output(KEY, X, inputs_kv=Y)
        identical(old, nn.MultiHeadDotProductAttention(4).init_with_output(KEY, X, Y))
