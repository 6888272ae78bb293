"""Names and forms that models have: layers in lists and stacks, fused projections, adapters."""

import functools
import re

import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError, ShapeError
from linnet.weights import from_torch, to_torch

from .torch_cases import (
    LINEN_NAMES,
    Encoder,
    LinenEncoder,
    case,
    encoder_state,
    rngs,
    run,
    state_of,
)


@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_repeated(style):
    """Layers in a PyTorch list are the layers of a `Repeat`, or of a list."""
    state_dict, [x], _ = encoder_state()
    draw = np.random.default_rng(0)
    drawn = {
        f"model.layers.{i}.{name}": draw.normal(size=value.shape).astype(value.dtype)
        for i in range(3)
        for name, value in state_dict.items()
    }
    model = nnx.List([Encoder(nnx.Rngs(0)) for _ in range(3)])
    by_layer = from_torch(model, drawn, rename={"model.layers": ""})
    expected = x
    for layer in by_layer:
        expected = run(layer, expected)
    if style == "nnx":

        class Model(nnx.Module):
            def __init__(self):
                self.layers = nnx.Repeat(Encoder, 3, rngs=nnx.Rngs(0))

        model = from_torch(Model(), drawn, rename={"model": ""})
        got = run(model.layers, x)
        back = to_torch(model, rename={"model": ""})
    else:
        module = nn.Repeat(LinenEncoder, 3)
        names = {"model.layers.{i}": "block[{i}]"}
        names |= {f".{key}": value for key, value in LINEN_NAMES.items()}
        variables = from_torch(module, drawn, inputs=[x], rename=names)
        got = run((module, variables), x)
        back = to_torch(module, variables=variables, inputs=[x], rename=names)
    near(got, expected, 1e-4, 1e-4)
    assert set(back) == set(drawn)
    identical(back, {k: drawn[k] for k in back})


class Gpt(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Repeat(GptBlock, 2, name="h")(x)


class GptBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadAttention(2, name="attn")(x, is_causal=True)
        return x + nn.MLP(16, name="mlp")(x)


GPT_NAMES = {
    "transformer": "",
    ".attn.c_attn.{kind}": "attn/in_proj_{kind}",
    ".attn.c_proj": "attn/out_proj",
    ".mlp.c_fc": "mlp/layers/0",
    ".mlp.c_proj": "mlp/layers/1",
}


def test_names_of_gpt2():
    """Matrices stored as [in, out], in layers of a list, with names that change in the middle."""
    shapes = {"attn.c_attn": (8, 24), "attn.c_proj": (8, 8), "mlp.c_fc": (8, 16)}
    shapes |= {"mlp.c_proj": (16, 8)}
    state_dict = {}
    for i in range(2):
        for name, shape in shapes.items():
            key = f"transformer.h.{i}.{name}"
            state_dict |= state_of(**{f"{key}.weight": shape, f"{key}.bias": shape[1:]})
    options = {
        "inputs": [jnp.ones((1, 3, 8))],
        "rename": GPT_NAMES,
        "transposed": ["*.c_*.weight"],
    }
    variables = from_torch(Gpt(), state_dict, **options)
    stacked = variables["params"]["h"]["block"]
    first, second = stacked["mlp"]["layers_0"]["kernel"]
    identical(np.asarray(first), state_dict["transformer.h.0.mlp.c_fc.weight"])
    identical(np.asarray(second), state_dict["transformer.h.1.mlp.c_fc.weight"])
    query = stacked["attn"]["query"]["kernel"][1].reshape(8, 8)
    identical(np.asarray(query), state_dict["transformer.h.1.attn.c_attn.weight"][:, :8].copy())
    back = to_torch(Gpt(), variables=variables, **options)
    assert set(back) == set(state_dict)
    identical(back, {k: state_dict[k] for k in back})
    wrong = {k: v for k, v in state_dict.items() if ".1.mlp.c_fc.weight" not in k}
    with pytest.raises(ShapeError, match="holds 2 layers, and the state dict has 1"):
        from_torch(Gpt(), wrong, **options)


def test_layers_of_a_recurrent_stack():
    """The names of an LSTM with two layers in both directions."""
    cell, _, _ = case("lstm")
    state_dict = {}
    for i, end in ((0, ""), (0, "_reverse"), (1, ""), (1, "_reverse")):
        wide = {"weight_ih_l0": (28, 14 if i else 5)}
        shapes = {k.replace("_l0", ""): wide.get(k, v.shape) for k, v in cell.items()}
        state_dict |= state_of(**{f"lstm.{k}_l{i}{end}": v for k, v in shapes.items()})

    class Stack(nnx.Module):
        def __init__(self):
            def one(features):
                return nnx.RNN(nnx.LSTMCell(features, 7, rngs=rngs))

            self.rnns = nnx.List([nnx.Bidirectional(one(n), one(n)) for n in (5, 14)])

    names = {
        "lstm.{name}_l{i}_reverse": "rnns/{i}/backward_rnn/cell/{name}",
        "lstm.{name}_l{i}": "rnns/{i}/forward_rnn/cell/{name}",
    }
    model = from_torch(Stack(), state_dict, rename=names)
    kernel = np.asarray(model.rnns[1].backward_rnn.cell.hg.kernel[...])
    identical(kernel, state_dict["lstm.weight_hh_l1_reverse"][14:21].T.copy())
    identical(to_torch(model, like=state_dict, rename=names), state_dict)


class Biased(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.MultiHeadAttention(2, use_bias=False, name="self")(
            x, bias=nn.RelativePositionBias(2, name="relative_attention_bias")()
        )


def test_names_of_t5():
    shapes = {f"SelfAttention.{n}.weight": (8, 8) for n in "qkvo"}
    state_dict = state_of(**shapes, **{"SelfAttention.relative_attention_bias.weight": (32, 2)})
    parts = {"q": "query", "k": "key", "v": "value", "o": "out"}
    options = {
        "inputs": [jnp.ones((1, 3, 8))],
        "rename": {
            "SelfAttention.relative_attention_bias": "relative_attention_bias",
            **{f"SelfAttention.{old}": f"self/{new}" for old, new in parts.items()},
        },
    }
    variables = from_torch(Biased(), state_dict, **options)
    bias = variables["params"]["relative_attention_bias"]["embedding"]
    identical(np.asarray(bias), state_dict["SelfAttention.relative_attention_bias.weight"])
    back = to_torch(Biased(), variables=variables, **options)
    assert set(back) == set(state_dict)
    identical(back, {k: state_dict[k] for k in back})


class Layer(nnx.Module):
    """A layer of a decoder in the form of Llama, with adapters if there is a rank."""

    def __init__(self, rank=0, fused=False, *, rngs):
        self.attention = nnx.MultiHeadAttention(
            4, 8, num_kv_heads=2, use_out_bias=False, decode=False, rngs=rngs
        )
        self.mlp = nnx.GLU(8, 6, fused=fused, rngs=rngs)
        for module, part in ((self.attention, "query"), (self.attention, "out"), (self.mlp, "up")):
            base = getattr(module, part, None)
            if rank and base is not None:
                sizes = base.in_features, rank, base.out_features
                setattr(module, part, nnx.LoRA(*sizes, base_module=base, rngs=rngs))

    def __call__(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


SEPARATE = {
    "attention.q_proj.weight": (8, 8),
    "attention.k_proj.weight": (4, 8),
    "attention.v_proj.weight": (4, 8),
    "attention.q_proj.bias": (8,),
    "attention.k_proj.bias": (4,),
    "attention.v_proj.bias": (4,),
    "attention.o_proj.weight": (8, 8),
    "mlp.gate_proj.weight": (6, 8),
    "mlp.up_proj.weight": (6, 8),
    "mlp.down_proj.weight": (8, 6),
}


def layers_of(n, **shapes):
    return state_of(**{f"layers.{i}.{name}": s for i in range(n) for name, s in shapes.items()})


def joined_up(state_dict):
    """The same with the projections in one tensor, as Phi-3 has them."""
    found = {}
    for name, value in state_dict.items():
        fused = re.sub("[qkv]_proj", "qkv_proj", name)
        fused = re.sub("(gate|up)_proj", "gate_up_proj", fused)
        found[fused] = np.concatenate([found[fused], value]) if fused in found else value
    return found


def x_of(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 3, 8)).astype(np.float32)


@pytest.mark.parametrize("fused", [False, True])
def test_fused_projections(fused):
    separate = layers_of(3, **SEPARATE)
    together = joined_up(separate)
    names = {"layers": ""}

    def model():
        return nnx.List([Layer(fused=fused, rngs=nnx.Rngs(0)) for _ in range(3)])

    one, two = (from_torch(model(), s, rename=names) for s in (separate, together))
    identical(nnx.state(one), nnx.state(two))
    identical(to_torch(two, like=together, rename=names), together)


@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_layers_that_alternate(style):
    """Layer i is layer i // 2 of the even ones, or of the odd ones."""
    state_dict = state_of(
        **{f"model.layers.{i}.{k}": s for i in range(6) for k, s in DENSE_SHAPES.items()}
    )
    if style == "nnx":

        class Model(nnx.Module):
            def __init__(self):
                dense = functools.partial(nnx.Linear, 8, 8)
                self.layers = nnx.Repeat([dense, dense], 6, rngs=nnx.Rngs(0))

        model = from_torch(Model(), state_dict, rename={"model": ""})
        kernels = [model.layers.block_0.kernel[...], model.layers.block_1.kernel[...]]
        back = to_torch(model, rename={"model": ""})
        like = to_torch(model, like=state_dict, rename={"model": ""})
    else:

        class Model(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Repeat([nn.Dense(8), nn.Dense(8)], 6, name="layers")(x)

        options = {"inputs": [x_of()], "rename": {"model": ""}}
        variables = from_torch(Model(), state_dict, **options)
        params = variables["params"]["layers"]
        kernels = [params["block_0"]["kernel"], params["block_1"]["kernel"]]
        back = to_torch(Model(), variables=variables, **options)
        like = to_torch(Model(), variables=variables, like=state_dict, **options)
    for i in range(6):
        expected = state_dict[f"model.layers.{i}.weight"].T
        np.testing.assert_array_equal(kernels[i % 2][i // 2], expected)
    assert set(back) == set(state_dict)
    identical(back, {name: state_dict[name] for name in back})
    identical(like, state_dict)


DENSE_SHAPES = {"weight": (8, 8), "bias": (8,)}


class Nested(nnx.Module):
    """Layers in lists and sequences, which are in a layer that is itself repeated."""

    def __init__(self, rngs):
        linear = functools.partial(nnx.Linear, 8, 8)
        self.experts = nnx.Repeat(linear, 2, rngs=rngs)
        self.pairs = nnx.Repeat([linear, linear], 4, rngs=rngs)
        self.mlp = nnx.Sequential(linear(rngs=rngs), nnx.relu, linear(rngs=rngs))

    def __call__(self, x):
        return self.mlp(self.pairs(self.experts(x)))


class LinenNested(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Repeat(nn.Dense(8), 2, name="experts")(x)
        x = nn.Repeat([nn.Dense(8), nn.Dense(8)], 4, name="pairs")(x)
        return nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(8)], name="mlp")(x)


@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_lists_in_repeated_layers(style):
    names = ["experts.0", "experts.1", *(f"pairs.{i}" for i in range(4)), "mlp.0", "mlp.2"]
    shapes = {f"{name}.{k}": s for name in names for k, s in DENSE_SHAPES.items()}
    state_dict = layers_of(3, **shapes)
    x = expected = x_of()
    for i in range(3):
        for name in names:
            weight, bias = (state_dict[f"layers.{i}.{name}.{k}"] for k in DENSE_SHAPES)
            expected = expected @ weight.T.astype(np.float64) + bias
            expected = np.maximum(expected, 0) if name == "mlp.0" else expected
    if style == "nnx":

        class Model(nnx.Module):
            def __init__(self):
                self.layers = nnx.Repeat(Nested, 3, rngs=nnx.Rngs(0))

        model = from_torch(Model(), state_dict)
        got, back = run(model.layers, x), to_torch(model)
        like = to_torch(model, like=state_dict)
    else:

        class Model(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Repeat(LinenNested(), 3, name="layers")(x)

        options = {"inputs": [x], "rename": {".mlp.0": "Dense_1", ".mlp.2": "Dense_2"}}
        variables = from_torch(Model(), state_dict, **options)
        got = run((Model(), variables), x)
        back = to_torch(Model(), variables=variables, **options)
        like = to_torch(Model(), variables=variables, like=state_dict, **options)
    near(got, expected, 1e-4, 1e-4 * float(np.abs(expected).max()))
    identical(like, state_dict)
    assert set(back) == set(state_dict)
    identical({k: back[k] for k in state_dict}, state_dict)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_projections_head_by_head(key_heads, style):
    """GPT-NeoX and BLOOM (as many heads of keys), Falcon (fewer, or one)."""
    width, depth, shared = 8, 3, 4 // key_heads
    rows = key_heads * (shared + 2) * depth
    state_dict = state_of(
        **{"query_key_value.weight": (rows, width), "query_key_value.bias": (rows,)},
        **{"dense.weight": (width, 4 * depth), "dense.bias": (width,)},
    )
    x = x_of()
    options = {"qkv_features": 4 * depth, "num_kv_heads": key_heads}
    if style == "nnx":
        layer = nnx.MultiHeadAttention(4, width, decode=False, rngs=nnx.Rngs(0), **options)
        got = run(from_torch(layer, state_dict), x)
        identical(to_torch(layer, like=state_dict), state_dict)
    else:
        layer = nn.MultiHeadAttention(4, **options)
        variables = from_torch(layer, state_dict, inputs=[x])
        got = run((layer, variables), x)
        identical(to_torch(layer, variables=variables, like=state_dict), state_dict)
    weight, bias = (state_dict[f"query_key_value.{k}"] for k in ("weight", "bias"))
    expected = np.zeros((2, 3, 4 * depth))
    for b in range(2):
        joined = x[b].astype(np.float64) @ weight.T + bias  # [T, rows]
        parts = joined.reshape(3, key_heads, shared + 2, depth)
        for h in range(4):
            of_key = parts[:, h // shared]
            logits = of_key[:, h % shared] @ of_key[:, shared].T / np.sqrt(depth)
            powers = np.exp(logits - logits.max(-1, keepdims=True))
            y = powers / powers.sum(-1, keepdims=True) @ of_key[:, shared + 1]
            expected[b, :, h * depth : (h + 1) * depth] = y
    expected = expected @ state_dict["dense.weight"].T + state_dict["dense.bias"]
    near(got, expected, 1e-4, 1e-4)


@pytest.mark.parametrize("repeated", [False, True])
def test_adapters_are_transparent(repeated):
    """A layer in a LoRA is found under its own name; the adapter has those of PEFT."""
    separate = layers_of(2, **SEPARATE)

    class Model(nnx.Module):
        def __init__(self, rank):
            rngs = nnx.Rngs(0)
            blocks = nnx.List([Layer(rank, rngs=rngs) for _ in range(2)])
            self.layers = nnx.Repeat(Layer, 2, rank, rngs=rngs) if repeated else blocks

        def __call__(self, x):
            return self.layers(x) if repeated else self.layers[1](self.layers[0](x))

    plain = from_torch(Model(0), separate)
    with pytest.raises(ArgumentError, match=r"no tensor for .*query/lora_a"):
        from_torch(Model(2), separate)
    adapted = from_torch(Model(2), separate, ignore=["*/lora_?"])
    near(run(adapted, x_of()), run(plain, x_of()), 1e-6)
    identical(to_torch(adapted, like=separate, ignore=["*/lora_?"]), separate)
    peft = to_torch(adapted)
    assert not any("base_module" in name for name in peft)
    assert peft["layers.1.attention.query.lora_A.weight"].shape == (2, 8)
    assert peft["layers.0.mlp.up.lora_B.weight"].shape == (6, 2)
    again = from_torch(Model(2), peft)
    identical(nnx.state(again), nnx.state(adapted))


def test_a_part_dropped_anywhere():
    class Model(nnx.Module):
        def __init__(self):
            self.text = nnx.Dict(layers=nnx.Repeat(nnx.Linear, 2, 3, 3, rngs=rngs))

    names = {".encoder": "", "model": "text"}
    state_dict = state_of(
        **{f"model.encoder.layers.{i}.{part}": (3, 3)[:n] for i in (0, 1) for part, n in PARTS}
    )
    model = from_torch(Model(), state_dict, rename=names)
    identical(to_torch(model, like=state_dict, rename=names), state_dict)
    alone = to_torch(model, rename=names)
    identical(alone, {k.replace(".encoder", ""): v for k, v in state_dict.items()})


PARTS = (("weight", 2), ("bias", 1))


def test_repeated_layers_in_a_sequence():
    state_dict = state_of(**{f"1.{i}.{part}": (3, 3)[:n] for i in (0, 1) for part, n in PARTS})
    model = nnx.Sequential(nnx.relu, nnx.Repeat(nnx.Linear, 2, 3, 3, rngs=rngs))
    identical(to_torch(from_torch(model, state_dict)), state_dict)


@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_sequences_in_sequences(style):
    """As in torchvision's MobileNet: `features.0.1.weight`, and the model itself a sequence."""
    names = [
        f"{i}.{j}.{k}.{part}" for i in (0, 1) for j in (0, 1) for k in (0, 1) for part, _ in PARTS
    ]
    state_dict = state_of(**{name: (3, 3)[: 2 - name.endswith("bias")] for name in names})
    x = np.ones((2, 3), np.float32)
    expected = x
    for name in names[::2]:
        bias = state_dict[name.replace("weight", "bias")]
        expected = expected @ state_dict[name].T + bias
    if style == "nnx":
        linear = lambda: nnx.Linear(3, 3, rngs=rngs)  # noqa: E731
        pair = lambda: nnx.Sequential(linear(), linear())  # noqa: E731
        layer = from_torch(
            nnx.Sequential(*(nnx.Sequential(pair(), pair()) for _ in "ab")), state_dict
        )
        got, back = layer(x), to_torch(layer)
    else:
        pair = lambda: nn.Sequential([nn.Dense(3), nn.Dense(3)])  # noqa: E731
        module = nn.Sequential([nn.Sequential([pair(), pair()]) for _ in "ab"])
        variables = from_torch(module, state_dict, inputs=[x])
        got = module.apply(variables, x)
        back = to_torch(module, variables=variables, inputs=[x])
    near(got, expected, 1e-4, 1e-4)
    identical(back, {name: state_dict[name] for name in back})
    assert set(back) == set(state_dict)


def test_keys_without_a_bias():
    """Keys have no bias in Whisper and BEiT: it would add the same to all logits of a query."""
    shapes = {k: s for k, s in SEPARATE.items() if k != "attention.k_proj.bias"}
    state_dict = state_of(**{k.replace("attention.", ""): s for k, s in shapes.items()})
    state_dict = {k: v for k, v in state_dict.items() if "mlp" not in k}
    layer = Layer(rngs=nnx.Rngs(0)).attention
    layer.key.bias[...] = jnp.ones((2, 2))
    from_torch(layer, state_dict)
    assert not layer.key.bias[...].any()
    identical(to_torch(layer, like=state_dict), state_dict)
    named = {k.replace("_proj", "").replace("q.", "query."): v for k, v in state_dict.items()}
    named = {re.sub("^k[.]", "key.", re.sub("^v[.]", "value.", k)): v for k, v in named.items()}
    identical(nnx.state(from_torch(layer, named, rename={"o": "out"})), nnx.state(layer))
    without = {k: v for k, v in state_dict.items() if not k.endswith("bias")}
    with pytest.raises(ArgumentError, match="no tensor for query/bias"):
        from_torch(layer, without)
