"""A state dict that doesn't fit: what is listed, what is left out, and that nothing is changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError, ArgumentTypeError, ShapeError
from linnet.weights import from_torch, to_torch

from .torch_cases import (
    LINEN_NAMES,
    Convolutional,
    Encoder,
    LinenEncoder,
    case,
    encoder_state,
    linear,
    refused,
    rngs,
    state_of,
)


def test_what_is_left_over_is_listed():
    model = Encoder(nnx.Rngs(0))
    state_dict, *_ = encoder_state()
    state_dict["linear_1.weight"] = state_dict.pop("linear1.weight")
    state_dict["head.weight"] = np.zeros((3, 8), np.float32)
    state_dict["norm1.bias"] = np.zeros(9, np.float32)
    text = refused(ArgumentError, model, state_dict, "doesn't fit", ignore=["pooler.*"])
    assert "no tensor for linear1/kernel; nearest:" in text
    assert "no place for linear_1.weight" in text
    assert "no place for head.weight" in text
    assert "norm1.bias has shape (9,), expected (8,) for norm1/bias of shape (8,)" in text
    del state_dict["norm1.bias"], state_dict["head.weight"]
    text = refused(ArgumentError, model, state_dict, "norm1/bias", rename={"linear_1": "linear1"})
    assert "linear" not in text


def test_shapes():
    wrong = state_of(weight=(5, 7), bias=(7,))
    refused(ShapeError, linear(), wrong, r"weight has shape \(5, 7\), expected \(7, 5\)")
    from_torch(linear(), wrong, transposed="weight")
    heads = nnx.MultiHeadAttention(2, 8, decode=False, use_bias=False, rngs=nnx.Rngs(0))
    odd = {"in_proj_weight": np.zeros((25, 8)), "out_proj.weight": np.zeros((8, 8))}
    refused(ShapeError, heads, odd, r"in_proj_weight has shape \(25, 8\), expected \(24, 8\)")


def test_dtypes():
    state_dict = state_of(weight=(7, 5), bias=(7,))
    layer = from_torch(linear(param_dtype=jnp.bfloat16), state_dict)
    assert layer.kernel.dtype == jnp.bfloat16
    whole = {k: v.astype(np.int32) for k, v in state_dict.items()}
    refused(ShapeError, linear(), whole, "weight has dtype int32, expected float32 for kernel")


def test_mistakes():
    state_dict = state_of(weight=(7, 5), bias=(7,))
    refused(ArgumentTypeError, linear(), "model.safetensors", "is a path")
    refused(ArgumentTypeError, linear(), {1: np.zeros(2)}, "name 1, expected a string")
    refused(ArgumentTypeError, linear(), state_dict | {"bias": "text"}, "a str called 'bias'")
    refused(ArgumentTypeError, linear(), state_dict, "rename must be", rename=["a"])
    refused(ArgumentTypeError, linear(), state_dict, "expected two strings", rename={"a": 1})
    refused(ArgumentError, linear(), state_dict, "isn't in the key", rename={"a": "b{i}"})
    refused(ArgumentError, linear(), state_dict, "both called 'bias'", rename={"weight": "bias"})
    refused(ArgumentError, linear(), state_dict, "is for linen modules", variables={})
    refused(ArgumentError, linear(), state_dict, "channels first", flattened={"weight": (5,)})
    with pytest.raises(ArgumentTypeError, match=r"Pass inputs=\[x\]"):
        from_torch(nn.Dense(7), state_dict, inputs=jnp.ones((1, 5)))
    with pytest.raises(ArgumentError, match="without numbers"):
        to_torch(nn.Dense(7), inputs=[jnp.ones((1, 5))])
    with pytest.raises(ArgumentTypeError, match="The target is a dict"):
        from_torch(state_dict, state_dict)
    with pytest.raises(ArgumentError, match="no variables of its own"):
        from_torch(nn.Dense(7), state_dict)
    variables = LinenEncoder().init(jax.random.key(0), jnp.ones((1, 3, 8)))
    with pytest.raises(ArgumentError, match=r"pass inputs=, such as"):
        from_torch(LinenEncoder(), encoder_state()[0], variables=variables, rename=LINEN_NAMES)


def test_a_bias_without_a_place():
    state_dict, *_ = case("gru")
    cell = nnx.RNN(nnx.GRUCell(5, 7, rngs=rngs))
    refused(ShapeError, cell, state_dict, "use_recurrent_bias=True")
    state_dict["bias_hh_l0"][14:] = 0
    from_torch(cell, state_dict)
    identical(to_torch(cell, like=state_dict), state_dict)


class Tied(nnx.Module):
    def __init__(self):
        self.embed = nnx.Embed(5, 3, rngs=nnx.Rngs(0))
        self.scale = nnx.Param(jnp.ones(3))


def test_tied_heads_and_ignored_tensors():
    state_dict = state_of(**{"embed.weight": (5, 3), "scale": (3,), "rotary.inv_freq": (4,)})
    state_dict["head.weight"] = state_dict["embed.weight"]
    model = from_torch(Tied(), state_dict, ignore=["*.inv_freq"])
    model.embed.embedding[...] += 1
    back = to_torch(model, like=state_dict, ignore=["*.inv_freq"])
    identical(back["head.weight"], back["embed.weight"])
    identical(back["rotary.inv_freq"], state_dict["rotary.inv_freq"])
    state_dict["head.weight"] = state_dict["embed.weight"] + 1
    refused(ArgumentError, Tied(), state_dict, "no place for head.weight", ignore=["*.inv_freq"])


def test_a_new_head_keeps_its_values():
    model = nnx.Dict(body=linear(), head=linear())
    before = nnx.to_pure_dict(nnx.state(model.head))
    old = {"body.weight": (7, 5), "body.bias": (7,), "head.weight": (3, 5), "head.bias": (3,)}
    state_dict = state_of(**old)
    from_torch(model, state_dict, ignore=["head?*"])
    identical(nnx.to_pure_dict(nnx.state(model.head)), before)
    identical(np.asarray(model.body.bias[...]), state_dict["body.bias"])
    back = to_torch(model, like=state_dict, ignore=["head?*"])
    identical(back, state_dict)
    text = refused(ArgumentError, model, state_dict, "doesn't fit", ignore=["head.*"])
    assert "no tensor for head/kernel" in text


def test_flattened_of_another_name():
    state_dict, *_ = case("cnn_flatten")
    flattened = {"classifier.2": (8, 2, 2)}
    refused(ArgumentError, Convolutional(rngs), state_dict, "no classifier.2", flattened=flattened)


def test_variables_without_tensors():
    """Variables that are added to a loaded model keep their values."""
    state_dict, [x], [expected] = case("linear")
    layer = nnx.LoRALinear(5, 7, lora_rank=2, rngs=nnx.Rngs(0))
    refused(ArgumentError, layer, state_dict, "no tensor for lora/lora_a")
    before = np.asarray(layer.lora.lora_a[...])
    from_torch(layer, state_dict, ignore=["*lora_?"])
    identical(np.asarray(layer.lora.lora_a[...]), before)
    near(layer(x), expected, 1e-5)
    identical(to_torch(layer, like=state_dict, ignore="*lora_?"), state_dict)
