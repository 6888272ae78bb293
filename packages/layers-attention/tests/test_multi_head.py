"""The effects of the modules' fields and arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from comparing import near, placed, sample
from linnet.layers_attention import functional, linen
from linnet.layers_attention.functional._choice import _FUNCTIONS
from linnet.module_core import errors
from linnet.module_core.linen import Module, compact

KEY = jax.random.key(0)
X = placed(np.random.default_rng(1).normal(size=(2, 5, 4)), jnp.float32)
Y = placed(np.random.default_rng(2).normal(size=(2, 3, 4)), jnp.float32)
RNGS = {"params": KEY, "dropout": jax.random.key(3)}


@pytest.fixture(scope="module")
def variables():
    return jax.jit(linen.MultiHeadAttention(2).init)(KEY, X)


# Inputs.


def test_keys_default_to_queries_and_values_to_keys(variables):
    layer = linen.MultiHeadAttention(2)
    near(layer.apply(variables, X), layer.apply(variables, X, X, X))
    near(layer.apply(variables, X, Y), layer.apply(variables, X, Y, Y))
    near(layer.apply(variables, X, Y), layer.apply(variables, inputs_q=X, inputs_k=Y))


def test_the_deprecated_argument_for_both(variables):
    layer = linen.MultiHeadAttention(2)
    with pytest.warns(DeprecationWarning, match="inputs_kv") as caught:
        y = layer.apply(variables, X, inputs_kv=Y)
    near(y, layer.apply(variables, X, Y))
    assert len(caught) == 1


def test_self_attention_warns_and_works(variables):
    mask = functional.make_causal_mask(X[..., 0])
    with pytest.warns(DeprecationWarning, match="SelfAttention is deprecated"):
        y = linen.SelfAttention(2).apply(variables, X, mask)
    near(y, linen.MultiHeadAttention(2).apply(variables, X, mask=mask))


def test_causality_is_that_of_a_mask(variables):
    layer = linen.MultiHeadAttention(2)
    mask = functional.make_causal_mask(X[..., 0])
    near(layer.apply(variables, X, is_causal=True), layer.apply(variables, X, mask=mask))


def test_names(variables):
    class Two(Module):
        @compact
        def __call__(self, x):
            x = linen.MultiHeadAttention(2)(x)
            return linen.MultiHeadDotProductAttention(2)(x)

    params = jax.eval_shape(Two().init, KEY, X)["params"]
    assert set(params) == {"MultiHeadAttention_0", "MultiHeadDotProductAttention_0"}
    assert set(params["MultiHeadAttention_0"]) == {"query", "key", "value", "out"}


# Groups.


@pytest.mark.parametrize("implementation", ["exact", "chunked"])
def test_grouped_heads_are_repeated_heads(implementation):
    grouped = linen.MultiHeadAttention(
        6, qkv_features=12, num_kv_heads=2, implementation=implementation
    )
    params = jax.jit(grouped.init)(KEY, X)["params"]
    repeated = {
        name: jax.tree.map(lambda p: jnp.repeat(p, 3, axis=-2), tree)
        if name in ("key", "value")
        else tree
        for name, tree in params.items()
    }
    plain = linen.MultiHeadAttention(6, qkv_features=12)
    near(
        grouped.apply({"params": params}, X, is_causal=True),
        plain.apply({"params": repeated}, X, is_causal=True),
    )


def test_an_attention_fn_gets_the_grouped_heads():
    shapes = []

    def attend(query, key, value):
        shapes.append((query.shape, key.shape, value.shape))
        return query

    linen.MultiHeadAttention(4, num_kv_heads=2, attention_fn=attend).init(KEY, X)
    assert shapes[-1] == ((2, 5, 4, 1), (2, 5, 2, 1), (2, 5, 2, 1))


# Attention functions.


def test_an_attention_fn_gets_what_its_signature_names(variables):
    seen = {}

    def attend(query, key, value, *, dtype=0, mask=0, deterministic=0):
        seen.update(dtype=dtype, mask=mask, deterministic=deterministic)
        return query

    mask = jnp.ones((1, 1, 5, 5))
    layer = linen.MultiHeadAttention(2, attention_fn=attend, dtype=jnp.bfloat16)
    layer.apply(variables, X, mask=mask)
    assert seen == {"dtype": jnp.bfloat16, "mask": mask, "deterministic": True}
    layer.clone(attention_fn=functools.partial(attend, dtype=7)).apply(variables, X)
    assert seen["mask"] is None

    def plain(query, key, value):
        return value

    assert layer.clone(attention_fn=plain).apply(variables, X).shape == X.shape
    assert layer.clone(attention_fn=jax.jit(plain)).apply(variables, X).shape == X.shape


def test_an_attention_fn_with_all_of_the_names(variables):
    def attend(query, key, value, **options):
        return linen.dot_product_attention(query, key, value, **options)

    @functools.wraps(linen.dot_product_attention)
    def counted(*args, **options):
        calls.append(set(options))
        return linen.dot_product_attention(*args, **options)

    calls = []
    layer = linen.MultiHeadAttention(2)
    expected = layer.apply(variables, X)
    near(layer.clone(attention_fn=counted).apply(variables, X), expected)
    near(layer.clone(attention_fn=attend).apply(variables, X), expected)
    assert calls[0] >= {
        "mask",
        "dropout_rng",
        "dropout_rate",
        "broadcast_dropout",
        "deterministic",
        "dtype",
        "precision",
        "force_fp32_for_softmax",
        "qk_attn_weights_einsum",
        "attn_weights_value_einsum",
    }


def test_a_causal_call_becomes_a_mask_for_functions_without_causality(variables):
    def attend(query, key, value, mask):
        return linen.dot_product_attention(query, key, value, mask=mask)

    layer = linen.MultiHeadAttention(2)
    masks = (None, jnp.ones((5, 5)).at[:, 1].set(0), jnp.ones((2, 1, 1, 5)).at[..., 0].set(0))
    for mask in masks:
        near(
            layer.clone(attention_fn=attend).apply(variables, X, mask=mask, is_causal=True),
            layer.apply(variables, X, mask=mask, is_causal=True),
        )


@pytest.mark.parametrize(
    ("fields", "call", "says"),
    [
        ({}, {"sow_weights": True}, "sow_weights=True needs an attention_fn that takes 'module'"),
        (
            {},
            {"is_causal": True},
            "Causal masking, or a cache, needs an attention_fn that takes 'mask'",
        ),
        ({"implementation": "chunked"}, {}, "'chunked' needs an attention_fn that takes 'impl"),
    ],
)
def test_arguments_that_an_attention_fn_cannot_take_raise_an_error(variables, fields, call, says):
    layer = linen.MultiHeadAttention(2, attention_fn=lambda query, key, value: query, **fields)
    with pytest.raises(errors.ArgumentError, match=says):
        layer.apply(variables, X, **call)


# Overrides.


def test_dot_general_of_the_projections(variables):
    def doubled(*args, **kwargs):
        return 2 * lax.dot_general(*args, **kwargs)

    layer = linen.MultiHeadAttention(2)
    half = {"params": {**variables["params"]}}
    for name in ("query", "key", "value"):
        tree = half["params"][name]
        half["params"][name] = {**tree, "kernel": tree["kernel"] / 2}
    expected = layer.apply(variables, X)
    near(layer.clone(qkv_dot_general=doubled).apply(half, X), expected)
    near(
        layer.clone(qkv_dot_general_cls=lambda: doubled, qkv_dot_general=lax.dot_general).apply(
            half, X
        ),
        expected,
    )
    out = half["params"]["out"]
    half["params"]["out"] = {**out, "kernel": out["kernel"] / 2}
    for fields in (
        {"out_dot_general": doubled},
        {"out_dot_general_cls": lambda: doubled, "out_dot_general": lax.dot_general},
    ):
        near(layer.clone(qkv_dot_general=doubled, **fields).apply(half, X), expected)


class ScaledEinsum(Module):
    """An einsum with a parameter of its own."""

    @compact
    def __call__(self, equation, a, b):
        scale = self.param("scale", jax.nn.initializers.ones, ())
        return scale * jnp.einsum(equation, a, b)


def test_einsums_may_be_modules(variables):
    layer = linen.MultiHeadAttention(
        2, qk_attn_weights_einsum_cls=ScaledEinsum, attn_weights_value_einsum_cls=ScaledEinsum
    )
    names = set(jax.eval_shape(layer.init, KEY, X)["params"])
    assert names == {"query", "key", "value", "out", "ScaledEinsum_0", "ScaledEinsum_1"}
    scales = {"ScaledEinsum_0": {"scale": jnp.ones(())}, "ScaledEinsum_1": {"scale": jnp.ones(())}}
    params = {**variables["params"], **scales}
    near(layer.apply({"params": params}, X), linen.MultiHeadAttention(2).apply(variables, X))


def test_einsum_and_dot_general_of_the_function():
    query, key = X[:, :, None], Y[:, :, None]
    seen = []

    def dot_general(*args, **kwargs):
        seen.append(kwargs)
        return lax.dot_general(*args, **kwargs)

    def einsum(equation, *operands):
        seen.append(equation)
        return jnp.einsum(equation, *operands)

    expected = functional.dot_product_attention(query, key, key)
    near(
        functional.dot_product_attention(query, key, key, einsum_dot_general=dot_general), expected
    )
    assert seen == [{"preferred_element_type": jnp.float32}] * 2
    y = functional.dot_product_attention(
        query, key, key, qk_attn_weights_einsum=einsum, attn_weights_value_einsum=einsum
    )
    near(y, expected)
    assert seen[2:] == ["...qhd,...khd->...hqk", "...hqk,...khd->...qhd"]
    groups = jnp.concatenate([query, query], 2)
    near(
        functional.dot_product_attention(
            groups, key, key, qk_attn_weights_einsum=einsum, attn_weights_value_einsum=einsum
        ),
        jnp.concatenate([expected, expected], 2),
    )
    mask = jnp.ones((4, 2, 1, 5, 3))
    spread = functional.dot_product_attention(
        query, key, key, mask=mask, einsum_dot_general=dot_general
    )
    near(spread, jnp.broadcast_to(expected, (4, *expected.shape)))


def test_initializers_of_the_last_projection():
    ones, twos = jax.nn.initializers.ones, jax.nn.initializers.constant(2.0)
    layer = linen.MultiHeadAttention(
        2, kernel_init=ones, bias_init=twos, out_kernel_init=twos, out_bias_init=ones
    )
    params = layer.init(KEY, X)["params"]
    values = {
        n: (float(t["kernel"][0, 0, 0]), float(jnp.max(t["bias"]))) for n, t in params.items()
    }
    assert values == {"query": (1, 2), "key": (1, 2), "value": (1, 2), "out": (2, 1)}


# Weights.


def test_weights_are_sown_before_dropout(variables):
    layer = linen.MultiHeadAttention(2, dropout_rate=0.5, deterministic=False)
    for implementation in ("auto", "exact"):
        _, state = layer.clone(implementation=implementation).apply(
            variables, X, sow_weights=True, mutable=["intermediates"], rngs=RNGS
        )
        (weights,) = state["intermediates"]["attention_weights"]
        assert weights.shape == (2, 2, 5, 5)
        near(jnp.sum(weights, -1), jnp.ones((2, 2, 5)))
    assert "intermediates" not in layer.init(RNGS, X, sow_weights=True)


# Dropout.


def test_dropout_draws_once_from_its_stream(variables):
    layer = linen.MultiHeadAttention(2, dropout_rate=0.5)
    y = layer.apply(variables, X, deterministic=False, rngs=RNGS)
    assert not np.allclose(y, layer.apply(variables, X, deterministic=True))
    given = layer.apply(variables, X, deterministic=False, dropout_rng=RNGS["dropout"])
    other = layer.apply(
        variables, X, deterministic=False, dropout_rng=RNGS["dropout"], rngs={"dropout": KEY}
    )
    near(given, other)  # the argument takes precedence over the stream
    with pytest.raises(errors.InvalidRngError):
        layer.apply(variables, X, deterministic=False)
    with pytest.raises(ValueError, match="deterministic"):
        layer.apply(variables, X)
    with pytest.raises(ValueError, match="given twice"):
        layer.clone(deterministic=True).apply(variables, X, deterministic=True)


def test_without_a_rate_nothing_of_dropout_is_needed(variables):
    layer = linen.MultiHeadAttention(2, deterministic=False)
    near(layer.apply(variables, X, deterministic=True), layer.apply(variables, X))


# The kernel of the device.


def test_the_fused_kernel_gets_the_same_problem():
    """The kernel's arguments, tried with jax's own implementation on this device."""
    from linnet.layers_attention.functional import exact, fused
    from linnet.layers_attention.functional._call import checked_call
    from linnet.layers_attention.functional._products import Products

    arrays = [
        jax.random.normal(jax.random.key(i), s)
        for i, s in enumerate([(2, 1, 4, 6, 8), (2, 1, 5, 2, 8), (2, 1, 5, 2, 8)])
    ]
    mask = jnp.ones((3, 1, 4, 5)).at[..., 2].set(0)
    bias = sample((6, 4, 5), seed=4)
    for offset in (0, 1):
        call = checked_call(
            *arrays,
            bias,
            mask,
            broadcast_dropout=True,
            dropout_rng=None,
            dropout_rate=0.0,
            deterministic=True,
            dtype=None,
            products=Products(),
            float32_softmax=False,
            on_weights=None,
            is_causal=True,
            query_offset=offset,
        )
        near(fused.attend_in_one(call, "xla"), exact.attend(call))


SUITED = jax.ShapeDtypeStruct((2, 1024, 4, 64), jnp.bfloat16)


@pytest.mark.parametrize(
    ("changed", "options", "used"),
    [
        ({}, {}, "cudnn"),
        ({}, {"is_causal": True}, "cudnn"),
        ({}, {"is_causal": True, "window": 128, "scale": 0.5}, "cudnn"),
        ({}, {"window": (128, 64)}, "chunked"),  # it would be a mask
        ({}, {"is_causal": True, "query_offset": 3}, "chunked"),
        ({}, {"soft_cap": 30.0}, "chunked"),
        ({}, {"sinks": jnp.zeros(4)}, "chunked"),
        ({}, {"mask": jnp.ones((1, 1, 1024), bool)}, "chunked"),
        ({}, {"bias": jnp.zeros((1024, 1024))}, "chunked"),
        ({}, {"segment_ids": jnp.zeros((2, 1024), int)}, "chunked"),
        ({"dtype": jnp.float32}, {}, "chunked"),
        ({"shape": (2, 1024, 4, 68)}, {}, "chunked"),
        ({"shape": (2, 1024, 4, 256)}, {}, "chunked"),
        ({"shape": (2, 1023, 4, 64)}, {}, "chunked"),
        ({"shape": (2, 64, 4, 64)}, {}, "exact"),
        ({"capability": 7.5}, {}, "chunked"),
        ({"capability": 0.0}, {}, "chunked"),
    ],
)
def test_the_choice_on_a_gpu(monkeypatch, changed, options, used):
    """As on a GPU, with jax's own implementation in place of the GPU's kernel."""
    from linnet.layers_attention.functional import fused

    monkeypatch.setattr(fused, "compute_capability", lambda: changed.get("capability", 9.0))
    monkeypatch.setitem(_FUNCTIONS, "cudnn", lambda call: fused.attend_in_one(call, "xla"))
    x = jax.ShapeDtypeStruct(changed.get("shape", SUITED.shape), changed.get("dtype", SUITED.dtype))
    with functional.record_implementations() as found:
        y = jax.eval_shape(functools.partial(functional.dot_product_attention, **options), x, x, x)
    assert found == [used]
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
