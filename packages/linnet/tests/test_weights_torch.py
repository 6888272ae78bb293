"""Loads what PyTorch 2.15 computed: `data/torch_layers/NAME.npz`.

Each file holds a state dict (`sd.*`), inputs (`in.*`) and outputs (`out.*`) of one of PyTorch's
layers or of a small model, in float32, in evaluation mode and with random weights.
"""

from pathlib import Path

import numpy as np
import pytest

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError
from linnet.weights import from_torch, to_torch

DATA = Path(__file__).parent / "data" / "torch_layers"
rngs = nnx.Rngs(0)


def case(name):
    with np.load(DATA / f"{name}.npz") as file:
        arrays = dict(file)
    parts = {"sd": {}, "in": {}, "out": {}}
    for key, value in arrays.items():
        kind, _, rest = key.partition(".")
        if kind in parts:
            parts[kind][rest] = value
    return parts["sd"], list(parts["in"].values()), list(parts["out"].values())


def last(x):
    """Channels last."""
    return np.moveaxis(x, 1, -1)


CONV1D = {"strides": 2, "padding": 1, "kernel_dilation": 2}
CONV2D = {"strides": (2, 1), "padding": ((1, 1), (2, 2)), "feature_group_count": 2}
TRANSPOSED = {"strides": (2, 2), "padding": ((1, 2), (2, 2))}
BN = {"use_running_average": True, "epsilon": 1e-3}
LN = {"epsilon": 1e-5, "reduction_axes": (-2, -1), "feature_axes": (-2, -1)}
LSTM = {"return_carry": True}


def gru_outputs(outputs):
    carry, y = outputs
    return [y, carry[None]]


def lstm_outputs(outputs):
    (c, h), y = outputs
    return [y, h[None], c[None]]


def one(y):
    return [y]


def channels_last(y):
    return [np.moveaxis(np.asarray(y), -1, 1)]


# name: (nnx layer, linen layer, inputs, outputs, keyword arguments of linen's call)
LAYERS = {
    "linear": (lambda: nnx.Linear(5, 7, rngs=rngs), nn.Dense(7), None, one),
    "conv1d": (
        lambda: nnx.Conv(4, 6, (3,), rngs=rngs, **CONV1D),
        nn.Conv(6, (3,), **CONV1D),
        last,
        channels_last,
    ),
    "conv2d": (
        lambda: nnx.Conv(4, 6, (3, 5), rngs=rngs, **CONV2D),
        nn.Conv(6, (3, 5), **CONV2D),
        last,
        channels_last,
    ),
    "convtranspose2d": (
        lambda: nnx.ConvTranspose(4, 6, (3, 4), rngs=rngs, **TRANSPOSED),
        nn.ConvTranspose(6, (3, 4), **TRANSPOSED),
        last,
        channels_last,
    ),
    "embedding": (lambda: nnx.Embed(11, 4, rngs=rngs), nn.Embed(11, 4), None, one),
    "batchnorm2d": (
        lambda: nnx.BatchNorm(6, rngs=rngs, **BN),
        nn.BatchNorm(**BN),
        last,
        channels_last,
    ),
    "layernorm": (lambda: nnx.LayerNorm((4, 6), rngs=rngs, **LN), nn.LayerNorm(**LN), None, one),
    "groupnorm": (
        lambda: nnx.GroupNorm(6, 3, epsilon=1e-5, rngs=rngs),
        nn.GroupNorm(3, epsilon=1e-5),
        last,
        channels_last,
    ),
    "prelu": (nnx.PReLU, nn.PReLU(), None, one),
    "lstm": (
        lambda: nnx.RNN(nnx.LSTMCell(5, 7, rngs=rngs), **LSTM),
        nn.RNN(nn.LSTMCell(7), **LSTM),
        None,
        lstm_outputs,
    ),
    "gru": (
        lambda: nnx.RNN(nnx.GRUCell(5, 7, use_recurrent_bias=True, rngs=rngs), **LSTM),
        nn.RNN(nn.GRUCell(7), **LSTM),
        None,
        gru_outputs,
    ),
    "mha": (
        lambda: nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs),
        nn.MultiHeadDotProductAttention(2),
        None,
        one,
    ),
    "spectral_norm_linear": (
        lambda: nnx.SpectralNorm(nnx.Linear(6, 4, rngs=rngs), update_stats=False, rngs=rngs),
        nn.SpectralNorm(nn.Dense(4)),
        None,
        one,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_layer(name, style):
    make, module, before, after = LAYERS[name]
    state_dict, inputs, outputs = case(name)
    inputs = [before(x) for x in inputs] if before else inputs
    if style == "nnx":
        layer = make()
        assert from_torch(layer, state_dict) is layer
        # Before the call: SpectralNorm writes to the kernel.
        back, again = to_torch(layer, like=state_dict), to_torch(layer)
        got = after(layer(*inputs))
    else:
        options = {"update_stats": False} if name.startswith("spectral") else {}
        loaded = from_torch(module, state_dict, inputs=inputs, options=options)
        got = after(module.apply(loaded, *inputs, **options))
        back = to_torch(module, variables=loaded, like=state_dict)
        again = to_torch(module, variables=loaded, inputs=inputs, options=options)
    for one_got, expected in zip(got, outputs, strict=False):
        near(one_got, expected, 1e-5)
    assert list(back) == list(state_dict)
    identical(back, state_dict)
    # Without the original, what is stored in more tensors than we have isn't known.
    assert set(again) == set(state_dict)
    if name not in ("lstm", "gru", "spectral_norm_linear", "batchnorm2d"):
        identical(again, state_dict)


def encoder_state():
    return case("transformer_encoder_layer")


class Encoder(nnx.Module):
    """PyTorch's `TransformerEncoderLayer(8, 2, 16, norm_first=True, activation="gelu")`."""

    def __init__(self, rngs):
        self.self_attn = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.linear1 = nnx.Linear(8, 16, rngs=rngs)
        self.linear2 = nnx.Linear(16, 8, rngs=rngs)
        self.norm1 = nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)
        self.norm2 = nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)

    def __call__(self, x):
        x = x + self.self_attn(self.norm1(x))
        y = nnx.gelu(self.linear1(self.norm2(x)), approximate=False)
        return x + self.linear2(y)


class LinenEncoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(epsilon=1e-5)(x)
        x = x + nn.MultiHeadAttention(2, name="self_attn")(y)
        y = nn.LayerNorm(epsilon=1e-5)(x)
        y = nn.gelu(nn.Dense(16)(y), approximate=False)
        return x + nn.Dense(8)(y)


LINEN_NAMES = {
    "norm1": "LayerNorm_0",
    "norm2": "LayerNorm_1",
    "linear1": "Dense_0",
    "linear2": "Dense_1",
}


def test_encoder():
    state_dict, [x], [expected] = encoder_state()
    model = from_torch(Encoder(nnx.Rngs(0)), state_dict)
    near(model(x), expected, 1e-5)
    identical(to_torch(model), {k: state_dict[k] for k in to_torch(model)})
    identical(to_torch(model, like=state_dict), state_dict)


def test_linen_encoder():
    state_dict, [x], [expected] = encoder_state()
    module = LinenEncoder()
    variables = from_torch(module, state_dict, inputs=[x], rename=LINEN_NAMES)
    near(module.apply(variables, x), expected, 1e-5)
    back = to_torch(module, variables=variables, inputs=[x], rename=LINEN_NAMES)
    identical(back, {k: state_dict[k] for k in back})
    assert set(back) == set(state_dict)


@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_repeated(style):
    """Layers in a list of PyTorch's are the layers of a `Repeat`, or of a list."""
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
        expected = layer(expected)
    if style == "nnx":

        class Model(nnx.Module):
            def __init__(self):
                self.layers = nnx.Repeat(Encoder, 3, rngs=nnx.Rngs(0))

        model = from_torch(Model(), drawn, rename={"model": ""})
        got = model.layers(x)
        back = to_torch(model, rename={"model": ""})
    else:
        module = nn.Repeat(LinenEncoder, 3)
        names = {"model.layers.{i}": "block[{i}]"}
        names |= {f".{key}": value for key, value in LINEN_NAMES.items()}
        variables = from_torch(module, drawn, inputs=[x], rename=names)
        got = module.apply(variables, x)
        back = to_torch(module, variables=variables, inputs=[x], rename=names)
    near(got, expected, 1e-4, 1e-4)
    assert set(back) == set(drawn)
    identical(back, {k: drawn[k] for k in back})


class Convolutional(nnx.Module):
    def __init__(self, rngs):
        norm = {"use_running_average": True, "epsilon": 1e-5, "rngs": rngs}
        self.features = nnx.Sequential(
            nnx.Conv(3, 8, (3, 3), padding=1, rngs=rngs),
            nnx.BatchNorm(8, **norm),
            nnx.relu,
            lambda x: nnx.max_pool(x, (2, 2), (2, 2)),
            nnx.Conv(8, 8, (3, 3), padding=1, use_bias=False, rngs=rngs),
            nnx.BatchNorm(8, **norm),
            nnx.relu,
            lambda x: nnx.avg_pool(x, (2, 2), (2, 2)),
        )
        self.classifier = nnx.Sequential(
            lambda x: x.reshape(x.shape[0], -1),
            nnx.Linear(32, 16, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.5, deterministic=True),
            nnx.Linear(16, 4, rngs=rngs),
        )

    def __call__(self, x):
        return self.classifier(self.features(x))


class LinenConvolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, bias in enumerate((True, False)):
            x = nn.Conv(8, (3, 3), padding=1, use_bias=bias)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            x = (nn.avg_pool if i else nn.max_pool)(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        return nn.Dense(4)(x)


LINEN_CNN = {
    "features.0": "Conv_0",
    "features.1": "BatchNorm_0",
    "features.4": "Conv_1",
    "features.5": "BatchNorm_1",
    "classifier.1": "Dense_0",
    "classifier.4": "Dense_1",
}


def test_flatten():
    state_dict, [x], [expected] = case("cnn_flatten")
    model = Convolutional(nnx.Rngs(0))
    before = nnx.to_pure_dict(nnx.state(model))
    with pytest.raises(ArgumentError, match="channels first") as caught:
        from_torch(model, state_dict)
    assert 'flattened={"classifier.1": (C, H, W)}' in str(caught.value)
    identical(nnx.to_pure_dict(nnx.state(model)), before)
    flattened = {"classifier.1": (8, 2, 2)}
    from_torch(model, state_dict, flattened=flattened)
    near(model(last(x)), expected, 1e-5)
    identical(to_torch(model, like=state_dict, flattened=flattened), state_dict)
    back = to_torch(model, flattened=flattened)
    back = {k: v for k, v in back.items() if "num_batches" not in k}
    identical(back, {k: state_dict[k] for k in back})


def test_linen_flatten():
    state_dict, [x], [expected] = case("cnn_flatten")
    module, flattened = LinenConvolutional(), {"classifier.1": (8, 2, 2)}
    options = {"inputs": [last(x)], "rename": LINEN_CNN, "flattened": flattened}
    variables = from_torch(module, state_dict, **options)
    near(module.apply(variables, last(x)), expected, 1e-5)
    identical(to_torch(module, variables=variables, like=state_dict, **options), state_dict)
