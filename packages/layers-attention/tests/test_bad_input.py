"""What cannot be computed is refused; the message says what was expected, what came, and where."""

import re

import jax
import jax.numpy as jnp
import pytest

from linnet.layers_attention import functional, linen
from linnet.module_core import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 4, 8))
Q = jnp.ones((2, 4, 6, 8))

attend = functional.dot_product_attention
weights = functional.dot_product_attention_weights
Layer = linen.MultiHeadAttention


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
