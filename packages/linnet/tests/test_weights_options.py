"""PyTorch's layers with unusual options: `data/torch_options.npz`.

For each layer, the file holds the state dict (`NAME.sd.*`), inputs and outputs that PyTorch 1.13 or
2.14 computed in evaluation mode, with random parameters.
"""

from functools import partial
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError, ShapeError
from linnet.weights import from_torch, to_torch

from .torch_cases import run

rngs = nnx.Rngs(0)
NONE = MappingProxyType({})
with np.load(Path(__file__).parent / "data" / "torch_options.npz") as file:
    ARRAYS = dict(file)


def case(name):
    def part(kind):
        start = f"{name}.{kind}."
        return {k.removeprefix(start): v for k, v in ARRAYS.items() if k.startswith(start)}

    return part("sd"), list(part("in").values()), list(part("out").values())


def as_is(x):
    return x


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def channels_first(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def swapped(x):
    return np.swapaxes(np.asarray(x), 0, 1)


class Stack(nnx.Module):
    """The equivalent of PyTorch's recurrent layers with `num_layers=2, bidirectional=True`."""

    def __init__(self, cell):
        rnn = lambda features: nnx.RNN(cell(features, 7, rngs=rngs))  # noqa: E731
        self.rnns = nnx.List([nnx.Bidirectional(rnn(n), rnn(n)) for n in (5, 14)])

    def __call__(self, x):
        for rnn in self.rnns:
            x = rnn(x)
        return x


STACK = {
    "{name}_l{i}_reverse": "rnns/{i}/backward_rnn/cell/{name}",
    "{name}_l{i}": "rnns/{i}/forward_rnn/cell/{name}",
}
GRU = partial(nnx.GRUCell, use_recurrent_bias=True)


class Step(nnx.Module):
    """One step of a cell from zeros."""

    def __init__(self, cell):
        self.cell = cell

    def __call__(self, x):
        return self.cell(self.cell.initialize_carry(x.shape, rngs=nnx.Rngs(0)), x)[1]


def conv(*sizes, **options):
    return (
        lambda: nnx.Conv(*sizes, rngs=rngs, **options),
        nn.Conv(*sizes[1:], **options),
        channels_last,
        channels_first,
    )


def transposed(*sizes, **options):
    return (
        lambda: nnx.ConvTranspose(*sizes, rngs=rngs, **options),
        nn.ConvTranspose(*sizes[1:], **options),
        channels_last,
        channels_first,
    )


def norm(style, arguments, linen, before=channels_last, after=channels_first):
    return lambda: style(*arguments, rngs=rngs), linen, before, after


def wrapped(wrapper, layer, linen, before=channels_last, after=channels_first, **options):
    return (
        lambda: getattr(nnx, wrapper)(layer(), rngs=rngs, **options),
        getattr(nn, wrapper)(linen, **options),
        before,
        after,
    )


def cell(make):
    return lambda: Step(make(5, 7, rngs=rngs)), None, as_is, as_is, {"": "cell"}


def heads(before=as_is, **options):
    linen = {k: v for k, v in options.items() if k != "in_kv_features"}
    return (
        lambda: nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs, **options),
        nn.MultiHeadDotProductAttention(2, **linen),
        before,
        before,
    )


VALID = {"padding": "VALID"}
CONV = lambda: nnx.Conv(4, 6, 3, rngs=rngs, **VALID)  # noqa: E731
SQUARE = lambda: nnx.Conv(4, 6, (3, 3), rngs=rngs, **VALID)  # noqa: E731
TRANSPOSED = lambda: nnx.ConvTranspose(4, 6, (3, 3), rngs=rngs, **VALID)  # noqa: E731
EMBED = lambda: nnx.Embed(7, 4, rngs=rngs)  # noqa: E731
LINEAR = lambda: nnx.Linear(5, 7, rngs=rngs)  # noqa: E731
PLAIN = (as_is, as_is)
BATCH = {"use_running_average": True}
NO_AFFINE = {"use_bias": False, "use_scale": False}
SQUARES = (nn.Conv(6, (3, 3), **VALID), nn.ConvTranspose(6, (3, 3), **VALID))

# name: (nnx layer, linen layer, inputs, outputs, renames)
LAYERS = {
    "conv1d_circular": conv(4, 6, 3, padding="CIRCULAR"),
    "conv1d_reflect": conv(4, 6, 3, padding="REFLECT"),
    "conv2d_replicate": conv(
        4, 6, (3, 5), padding="REPLICATE", strides=(2, 1), feature_group_count=2
    ),
    "conv1d_same_replicate": conv(4, 6, 4, padding="REPLICATE", kernel_dilation=2),
    "conv2d_same": conv(4, 6, (3, 4), padding="SAME"),
    "conv2d_depthwise": conv(
        4, 8, (3, 3), strides=2, padding=0, kernel_dilation=2, feature_group_count=4
    ),
    "conv3d": conv(
        *(4, 6, (2, 3, 2)),
        strides=(1, 2, 1),
        padding=((1, 1), (0, 0), (1, 1)),
        feature_group_count=2,
        use_bias=False,
    ),
    "convt1d_groups": transposed(4, 6, 3, strides=2, padding=((1, 1),), feature_group_count=2),
    "convt2d_groups_dil": transposed(
        *(4, 8, (3, 2)),
        strides=(2, 1),
        padding=((1, 1), (2, 2)),
        kernel_dilation=(1, 2),
        feature_group_count=4,
    ),
    "convt2d_depthwise": transposed(
        *(4, 4, (2, 2)),
        strides=2,
        padding="VALID",
        feature_group_count=4,
        use_bias=False,
        transpose_kernel=True,
    ),
    "convt3d": transposed(4, 6, (3, 3, 3), strides=2, padding="VALID", use_bias=False),
    "instancenorm": norm(
        partial(nnx.InstanceNorm, epsilon=1e-5), (6,), nn.InstanceNorm(epsilon=1e-5)
    ),
    # In evaluation mode, an instance norm with running statistics is a batch norm.
    "instancenorm_stats": norm(partial(nnx.BatchNorm, **BATCH), (6,), nn.BatchNorm(**BATCH)),
    "batchnorm_noaffine": norm(
        partial(nnx.BatchNorm, **BATCH, **NO_AFFINE),
        (6,),
        nn.BatchNorm(**BATCH, **NO_AFFINE),
        *PLAIN,
    ),
    "batchnorm_momnone": norm(partial(nnx.BatchNorm, **BATCH), (6,), nn.BatchNorm(**BATCH)),
    "mha_kdim": heads(in_kv_features=(5, 6)),
    "mha_nobias": heads(swapped, use_bias=False),
    "lstm_bi2": (lambda: Stack(nnx.LSTMCell), None, *PLAIN, STACK),
    "gru_bi2": (lambda: Stack(GRU), None, *PLAIN, STACK),
    "rnn_bi": (
        lambda: nnx.Bidirectional(*(nnx.RNN(nnx.SimpleCell(5, 7, rngs=rngs)) for _ in "ab")),
        nn.Bidirectional(nn.RNN(nn.SimpleCell(7)), nn.RNN(nn.SimpleCell(7))),
        swapped,
        swapped,
    ),
    "rnn_relu": (
        lambda: nnx.RNN(nnx.SimpleCell(5, 7, activation_fn=nnx.relu, rngs=rngs)),
        nn.RNN(nn.SimpleCell(7, activation_fn=nn.relu)),
        *PLAIN,
    ),
    "lstmcell": cell(nnx.LSTMCell),
    "grucell": cell(GRU),
    "rnncell": cell(nnx.SimpleCell),
    "prelu_many": (
        lambda: nnx.PReLU(num_features=6),
        nn.PReLU(per_feature=True),
        channels_last,
        channels_first,
    ),
    "weightnorm_conv": wrapped("WeightNorm", CONV, nn.Conv(6, 3, **VALID)),
    "weightnorm_dimnone": wrapped("WeightNorm", LINEAR, nn.Dense(7), *PLAIN, feature_axes=None),
    "weightnorm_dim1": wrapped("WeightNorm", LINEAR, nn.Dense(7), *PLAIN, feature_axes=0),
    # As in the positional convolution of wav2vec 2.0.
    "weightnorm_dim2": wrapped(
        "WeightNorm",
        lambda: nnx.Conv(4, 6, 3, feature_group_count=2, rngs=rngs, **VALID),
        nn.Conv(6, 3, feature_group_count=2, **VALID),
        feature_axes=0,
    ),
    "weightnorm_embedding": (
        lambda: nnx.WeightNorm(
            EMBED(), feature_axes=0, variable_filter=nnx.PathContains("embedding"), rngs=rngs
        ),
        nn.WeightNorm(nn.Embed(7, 4), feature_axes=0, variable_filter={"embedding"}),
        *PLAIN,
    ),
    "spectral_embedding": wrapped("SpectralNorm", EMBED, nn.Embed(7, 4), *PLAIN),
    "weightnorm_convt": wrapped(
        "WeightNorm",
        lambda: nnx.ConvTranspose(4, 6, 3, rngs=rngs, **VALID),
        nn.ConvTranspose(6, 3, **VALID),
        feature_axes=-2,
    ),
    "spectral_conv": wrapped("SpectralNorm", SQUARE, SQUARES[0]),
    "spectral_convt": wrapped("SpectralNorm", TRANSPOSED, SQUARES[1]),
    "spectral_param_convt": wrapped("SpectralNorm", TRANSPOSED, SQUARES[1]),
}


# Both styles share a layout; for these layers, a linen module must provide more than its names.
LINEN = ["convt2d_groups_dil", "mha_kdim", "prelu_many", "rnn_bi"]
LINEN += [
    "weightnorm_embedding",
    "spectral_embedding",
    "weightnorm_convt",
    "weightnorm_dim1",
    "weightnorm_dimnone",
    "spectral_convt",
]


@pytest.mark.parametrize(
    ("style", "name"), [*(("nnx", n) for n in LAYERS), *(("linen", n) for n in LINEN)]
)
def test_layer(style, name):
    make, module, before, after, *rename = LAYERS[name]
    state_dict, inputs, outputs = case(name)
    inputs = [before(x) for x in inputs]
    rename = rename[0] if rename else NONE
    fixed = {"update_stats": False} if name.startswith("spectral") else {}
    if style == "nnx":
        layer = from_torch(make(), state_dict, rename=rename)
        back = to_torch(layer, like=state_dict, rename=rename)
        got = run(layer, *inputs, **fixed)
    else:
        variables = from_torch(module, state_dict, inputs=inputs, options=fixed)
        back = to_torch(module, variables=variables, like=state_dict)
        got = run((module, variables), *inputs, **fixed)
    near(after(got), outputs[0], 1e-5, 1e-5)
    identical(back, state_dict)


@pytest.mark.parametrize("name", ["lstm_bi2", "gru_bi2", "mha_kdim"])
def test_names_without_a_state_dict(name):
    """`rename` alone names the tensors of stacked cells; kernels of different sizes stay apart."""
    make, _, _, _, *rename = LAYERS[name]
    rename = rename[0] if rename else NONE
    state_dict = case(name)[0]
    layer = from_torch(make(), state_dict, rename=rename)
    alone = to_torch(layer, rename=rename)
    assert set(alone) == set(state_dict)
    again = from_torch(make(), alone, rename=rename)
    identical(nnx.to_pure_dict(nnx.state(again)), nnx.to_pure_dict(nnx.state(layer)))


def test_a_batch_norm_without_statistics():
    """`BatchNorm2d(track_running_stats=False)`: the variables that are left out need values."""
    state_dict, [x], _ = case("batchnorm_momnone")
    affine = {k: v for k, v in state_dict.items() if k in ("weight", "bias")}
    module, x = nn.BatchNorm(use_running_average=False), channels_last(x)
    options = {"inputs": [x], "ignore": ["*/mean", "*/var"]}
    with pytest.raises(ArgumentError, match="no tensors for batch_stats/mean, batch_stats/var"):
        from_torch(module, affine, **options)
    first = module.init(jax.random.key(0), x)
    variables = from_torch(module, affine, variables=first, **options)
    identical(variables["batch_stats"], first["batch_stats"])
    identical(np.asarray(variables["params"]["scale"]), affine["weight"])


def test_an_added_key_of_zeros_is_a_sink_of_zero():
    """`MultiheadAttention(add_zero_attn=True)`: a logit of 0 without a value."""
    state_dict, inputs, outputs = case("mha_zero")
    layer = nnx.MultiHeadAttention(2, 8, decode=False, use_sinks=True, rngs=rngs)
    from_torch(layer, state_dict, ignore=["sinks"])
    layer.sinks[...] = jnp.zeros(2)
    near(run(layer, *inputs), outputs[0], 1e-5)


class Block(nnx.Module):
    """PyTorch's `TransformerEncoderLayer`, or its `TransformerDecoderLayer`."""

    def __init__(self, cross):
        attention = partial(nnx.MultiHeadAttention, 2, 8, decode=False, rngs=rngs)
        self.self_attn = attention()
        self.multihead_attn = attention() if cross else None
        self.linear1 = nnx.Linear(8, 16, rngs=rngs)
        self.linear2 = nnx.Linear(16, 8, rngs=rngs)
        for i in range(2 + cross):
            setattr(self, f"norm{i + 1}", nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs))

    def __call__(self, x, memory=None):
        x = self.norm1(x + self.self_attn(x))
        last = self.norm2
        if memory is not None:
            x = self.norm2(x + self.multihead_attn(x, memory))
            last = self.norm3
        return last(x + self.linear2(nnx.relu(self.linear1(x))))


@pytest.mark.parametrize("name", ["encoder_post", "decoder_layer"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_blocks(name, prefix):
    """Names may also have the prefixes of `DataParallel` and `torch.compile`."""
    state_dict, inputs, outputs = case(name)
    block = Block(name == "decoder_layer")
    named = {f"{prefix}{k}": v for k, v in state_dict.items()}
    from_torch(block, named, rename={prefix[:-1]: ""} if prefix else None)
    near(run(block, *inputs), outputs[0], 1e-5)
    identical(to_torch(block), state_dict)


class Transformer(nnx.Module):
    """PyTorch's `Transformer` with one layer in the encoder."""

    def __init__(self, layers, **options):
        self.encoder = nnx.Module()
        self.decoder = nnx.Module()
        for half, count in ((self.encoder, 1), (self.decoder, layers)):
            half.layers = nnx.List([Layer(half is self.decoder, **options) for _ in range(count)])
            half.norm = nnx.LayerNorm(8, **options["norm"], rngs=rngs)

    def __call__(self, source, target):
        for layer in self.encoder.layers:
            source = layer(source)
        memory = self.encoder.norm(source)
        for layer in self.decoder.layers:
            target = layer(target, memory)
        return self.decoder.norm(target)


class Layer(nnx.Module):
    """A layer of `Transformer`, with PyTorch's `norm_first`, `bias`, activation and epsilon."""

    def __init__(self, cross, act, norm, norm_first, use_bias):
        heads = partial(nnx.MultiHeadAttention, 2, 8, decode=False, use_bias=use_bias, rngs=rngs)
        self.self_attn, self.multihead_attn = heads(), heads() if cross else None
        self.linear1 = nnx.Linear(8, 16, use_bias=use_bias, rngs=rngs)
        self.linear2 = nnx.Linear(16, 8, use_bias=use_bias, rngs=rngs)
        for i in range(2 + cross):
            setattr(self, f"norm{i + 1}", nnx.LayerNorm(8, **norm, rngs=rngs))
        self.act, self.norm_first = act, norm_first

    def __call__(self, x, memory=None):
        mlp = lambda x: self.linear2(self.act(self.linear1(x)))  # noqa: E731
        parts = [partial(self.self_attn, is_causal=False), mlp]
        if memory is not None:
            parts.insert(1, lambda x: self.multihead_attn(x, memory))
        for i, part in enumerate(parts):
            norm = getattr(self, f"norm{i + 1}")
            x = x + part(norm(x)) if self.norm_first else norm(x + part(x))
        return x


TRANSFORMERS = {
    "transformer": (
        2,
        {
            "act": partial(nnx.gelu, approximate=False),
            "norm": {"epsilon": 1e-5},
            "norm_first": True,
            "use_bias": True,
        },
        as_is,
    ),
    "transformer_seq": (
        1,
        {
            "act": nnx.relu,
            "norm": {"epsilon": 1e-3, "use_bias": False},
            "norm_first": False,
            "use_bias": False,
        },
        swapped,
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    """`batch_first=False` has the time first."""
    layers, options, before = TRANSFORMERS[name]
    state_dict, inputs, outputs = case(name)
    model = from_torch(Transformer(layers, **options), state_dict)
    near(before(run(model, *map(before, inputs))), outputs[0], 1e-5, 1e-5)
    identical(to_torch(model, like=state_dict), state_dict)


class AddedKey(nnx.Module):
    """PyTorch's `MultiheadAttention(add_bias_kv=True)`: one more key and value, learned."""

    def __init__(self, features):
        self.bias_k = nnx.Param(jnp.zeros((1, 1, features)))
        self.bias_v = nnx.Param(jnp.zeros((1, 1, features)))

    def __call__(self, query, key, value, mask=None):
        batch, _, heads, depth = key.shape
        more = [
            jnp.broadcast_to(x.reshape(1, 1, heads, depth), (batch, 1, heads, depth))
            for x in (self.bias_k[...], self.bias_v[...])
        ]
        key, value = (jnp.concatenate(x, axis=1) for x in zip((key, value), more, strict=True))
        if mask is not None:
            mask = jnp.pad(mask, [(0, 0)] * 3 + [(0, 1)], constant_values=True)
        return nnx.dot_product_attention(query, key, value, mask=mask)


class ProjectedLSTMCell(nnx.RNNCellBase):
    """PyTorch's `LSTM(proj_size=...)`: the hidden state is a product of o · tanh(c)."""

    def __init__(self, features, hidden, projected):
        self.hidden, self.projected = hidden, projected
        self.weight_ih = nnx.Param(jnp.zeros((4 * hidden, features)))
        self.weight_hh = nnx.Param(jnp.zeros((4 * hidden, projected)))
        self.weight_hr = nnx.Param(jnp.zeros((projected, hidden)))
        self.bias_ih = nnx.Param(jnp.zeros(4 * hidden))
        self.bias_hh = nnx.Param(jnp.zeros(4 * hidden))

    def __call__(self, carry, x):
        c, h = carry
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
        h = (nnx.sigmoid(o) * jnp.tanh(c)) @ self.weight_hr.T
        return (c, h), h

    def initialize_carry(self, input_shape, rngs=None):
        batch = input_shape[:-1]
        return jnp.zeros((*batch, self.hidden)), jnp.zeros((*batch, self.projected))

    @property
    def num_feature_axes(self):
        return 1


class Bilinear(nnx.Module):
    def __init__(self, m, n, k):
        self.weight, self.bias = nnx.Param(jnp.zeros((k, m, n))), nnx.Param(jnp.zeros(k))

    def __call__(self, x, y):
        return jnp.einsum("...m,kmn,...n->...k", x, self.weight[...], y) + self.bias


class MeanOfBag(nnx.Embed):
    """PyTorch's `EmbeddingBag(mode="mean", padding_idx=0)`."""

    def __call__(self, tokens):
        return super().__call__(tokens).mean(axis=1, where=(tokens != 0)[..., None])


# The modules that docs/guides/torch_weights.md describes, as (module, names).
OWN = {
    "mha_biaskv": (
        lambda: nnx.MultiHeadAttention(2, 8, decode=False, attention_fn=AddedKey(8), rngs=rngs),
        {"bias_k": "attention_fn/bias_k", "bias_v": "attention_fn/bias_v"},
    ),
    "lstm_proj": (lambda: nnx.RNN(ProjectedLSTMCell(5, 7, 3)), {"{name}_l0": "cell/{name}"}),
    "bilinear": (lambda: Bilinear(3, 4, 5), {}),
    "embeddingbag": (lambda: MeanOfBag(9, 4, rngs=rngs), {}),
}


@pytest.mark.parametrize("name", OWN)
def test_modules_of_ones_own(name):
    make, rename = OWN[name]
    state_dict, inputs, outputs = case(name)
    module = from_torch(make(), state_dict, rename=rename)
    near(run(module, *inputs), outputs[0], 1e-5, 1e-5)
    identical(to_torch(module, like=state_dict, rename=rename), state_dict)


def test_limited_embeddings():
    """`Embedding(max_norm=m, padding_idx=0)`: rows are limited before they are loaded."""
    state_dict, [tokens], [expected] = case("embedding_maxnorm")
    rows = state_dict["weight"]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    limited = {"weight": rows * np.minimum(1, 0.4 / lengths)}
    near(from_torch(nnx.Embed(7, 4, rngs=rngs), limited)(tokens), expected, 1e-5)


# Tensors without a counterpart, by name.
REFUSED = {
    "lstm_proj": (lambda: nnx.RNN(nnx.LSTMCell(5, 7, rngs=rngs)), "no place for weight_hr_l0"),
    "mha_biaskv": (LAYERS["mha_nobias"][0], "no place for bias_k"),
    "instancenorm_stats": (LAYERS["instancenorm"][0], "no place for running_mean"),
    "weightnorm_dim1": (
        lambda: nnx.WeightNorm(LINEAR(), rngs=rngs),
        r"weight_g has shape \(1, 5\), expected \(7, 1\)",
    ),
    "convt1d_groups": (
        lambda: nnx.ConvTranspose(4, 6, 3, rngs=rngs),
        r"weight has shape \(4, 3, 3\), expected \(4, 6, 3\)",
    ),
    "prelu_many": (nnx.PReLU, r"weight has shape \(6,\), expected \(1,\)"),
    "mha_kdim": (
        lambda: nnx.MultiHeadAttention(2, 8, in_kv_features=5, decode=False, rngs=rngs),
        r"v_proj_weight has shape \(8, 6\), expected \(8, 5\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_without_counterpart(name):
    make, message = REFUSED[name]
    layer = make()
    before = nnx.to_pure_dict(nnx.state(layer))
    with pytest.raises((ArgumentError, ShapeError), match=message):
        from_torch(layer, case(name)[0])
    identical(nnx.to_pure_dict(nnx.state(layer)), before)
