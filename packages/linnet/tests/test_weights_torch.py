"""Loads PyTorch 2.15's parameters into each layer of both styles; see `torch_cases`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError
from linnet.weights import from_torch, to_torch

from .torch_cases import (
    LINEN_NAMES,
    Convolutional,
    Encoder,
    LinenEncoder,
    case,
    encoder_state,
    linear,
    one,
    rngs,
    run,
    state_of,
)


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
        got = after(run(layer, *inputs))
    else:
        options = {"update_stats": False} if name.startswith("spectral") else {}
        loaded = from_torch(module, state_dict, inputs=inputs, options=options)
        got = after(run((module, loaded), *inputs, **options))
        back = to_torch(module, variables=loaded, like=state_dict)
        again = to_torch(module, variables=loaded, inputs=inputs, options=options)
    for one_got, expected in zip(got, outputs, strict=False):
        near(one_got, expected, 1e-5)
    assert list(back) == list(state_dict)
    identical(back, state_dict)
    # Without the original, we can't tell how PyTorch splits values that we keep in fewer tensors.
    assert set(again) == set(state_dict)
    if name not in ("lstm", "gru", "spectral_norm_linear", "batchnorm2d"):
        identical(again, state_dict)


def test_encoder():
    state_dict, [x], [expected] = encoder_state()
    model = from_torch(Encoder(nnx.Rngs(0)), state_dict)
    near(run(model, x), expected, 1e-5)
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


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_after_training(name):
    """The written tensors include the change: loaded again, they give the same outputs."""
    state_dict, [x], _ = case(name)
    cells = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
    options = {"use_recurrent_bias": True} if name == "gru" else {}
    make = lambda: nnx.RNN(cells[name](5, 7, rngs=rngs, **options))  # noqa: E731
    model = from_torch(make(), state_dict)
    trained = jax.tree.map(lambda v: v + 0.5, nnx.state(model, nnx.Param))
    nnx.update(model, trained)
    back = to_torch(model, like=state_dict)
    near(from_torch(make(), back)(x), model(x))
    assert not np.array_equal(back["weight_ih_l0"], state_dict["weight_ih_l0"])


@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_transposed_kernels(transpose_kernel):
    state_dict, [x], [expected] = case("convtranspose2d")
    options = {**TRANSPOSED, "transpose_kernel": transpose_kernel}
    layer = from_torch(nnx.ConvTranspose(4, 6, (3, 4), rngs=rngs, **options), state_dict)
    near(channels_last(layer(last(x)))[0], expected, 1e-5)
    identical(to_torch(layer), state_dict)


def test_bidirectional():
    state_dict, [x], _ = case("lstm")
    both = state_dict | {f"{k}_reverse": v * 2 for k, v in state_dict.items()}
    cell = lambda: nnx.LSTMCell(5, 7, rngs=rngs)  # noqa: E731
    model = from_torch(nnx.Bidirectional(nnx.RNN(cell()), nnx.RNN(cell())), both)
    one = from_torch(nnx.RNN(cell()), state_dict)
    other = from_torch(nnx.RNN(cell()), {k: v * 2 for k, v in state_dict.items()})
    near(model(x), jnp.concatenate([one(x), other(x[:, ::-1])[:, ::-1]], -1))
    identical(to_torch(model, like=both), both)
    assert set(to_torch(model)) == set(both)


def test_feed_forward():
    """Fused and separate kernels load from the same tensors."""
    shapes = {"gate_proj.weight": (7, 4), "up_proj.weight": (7, 4), "down_proj.weight": (4, 7)}
    state_dict = state_of(**shapes)
    apart, fused = (
        from_torch(nnx.GLU(4, 7, fused=fused, rngs=rngs), state_dict) for fused in (False, True)
    )
    x = np.ones((2, 4), np.float32)
    near(apart(x), fused(x))
    for layer in (apart, fused):
        identical(to_torch(layer), state_dict)
    module = nn.GLU(7)
    near(module.apply(from_torch(module, state_dict, inputs=[x]), x), apart(x))


@pytest.mark.parametrize("style", ["nnx", "linen"])
def test_weight_norm(style):
    state_dict, [x], _ = case("linear")
    weight = state_dict.pop("weight")
    names = ["parametrizations.weight.original0", "parametrizations.weight.original1"]
    length = np.arange(1, 8, dtype=np.float32)[:, None]
    state_dict |= dict(zip(names, [length, weight], strict=True))
    expected = x @ (weight / np.linalg.norm(weight, axis=1, keepdims=True) * length).T
    expected += state_dict["bias"]
    if style == "nnx":
        layer = from_torch(nnx.WeightNorm(linear(), rngs=rngs), state_dict)
        back, got = to_torch(layer), layer(x)
    else:
        module = nn.WeightNorm(nn.Dense(7))
        variables = from_torch(module, state_dict, inputs=[x])
        back = to_torch(module, variables=variables, inputs=[x])
        got = module.apply(variables, x)
    near(got, expected, 1e-5)
    identical(back, state_dict)


class Wrapped(nn.Module):
    """Wrappers and cells next to the layers that they hold."""

    @nn.compact
    def __call__(self, x):
        x = nn.SpectralNorm(nn.Dense(4))(x, update_stats=False)
        return nn.RNN(nn.LSTMCell(7), name="lstm")(x)


def test_layers_next_to_what_holds_them():
    spectral, *_ = case("spectral_norm_linear")
    cell = state_of(weight_ih_l0=(28, 4), weight_hh_l0=(28, 7), bias_ih_l0=(28,), bias_hh_l0=(28,))
    state_dict = {f"dense.{k}": v for k, v in spectral.items()}
    state_dict |= {f"lstm.{k}": v for k, v in cell.items()}
    x = np.ones((2, 3, 6), np.float32)
    options = {"inputs": [x], "rename": {"dense": "Dense_0"}}
    variables = from_torch(Wrapped(), state_dict, **options)
    identical(to_torch(Wrapped(), variables=variables, like=state_dict, **options), state_dict)
    dense = from_torch(nn.SpectralNorm(nn.Dense(4)), spectral, inputs=[x], options=OFF)
    y = nn.SpectralNorm(nn.Dense(4)).apply(dense, x, **OFF)
    rnn = from_torch(nn.RNN(nn.LSTMCell(7)), cell, inputs=[y])
    near(Wrapped().apply(variables, x), nn.RNN(nn.LSTMCell(7)).apply(rnn, y))


OFF = {"update_stats": False}


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_without_biases(name):
    state_dict, [x], _ = case(name)
    zeros = {k: v if "weight" in k else np.zeros_like(v) for k, v in state_dict.items()}
    alone = {k: v for k, v in state_dict.items() if "weight" in k}
    module = nn.RNN({"lstm": nn.LSTMCell, "gru": nn.GRUCell}[name](7))
    variables = from_torch(module, alone, inputs=[x])
    identical(variables, from_torch(module, zeros, inputs=[x]))
    identical(to_torch(module, variables=variables, like=alone), alone)


@pytest.mark.parametrize("window", [(3,), (2, 3), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(window, groups):
    """The output equals a loop over the window; 4 groups of 4 channels make it depthwise."""
    state_dict = state_of(weight=(8, 4 // groups, *window), bias=(8,))
    layer = nnx.Conv(4, 8, window, padding="VALID", feature_group_count=groups, rngs=rngs)
    from_torch(layer, state_dict)
    x = np.random.default_rng(1).normal(size=(4, *window)).astype(np.float32)
    expected = state_dict["bias"].astype(np.float64)
    for o in range(8):
        first = o // (8 // groups) * (4 // groups)
        expected[o] += np.sum(state_dict["weight"][o] * x[first : first + 4 // groups])
    near(np.asarray(layer(np.moveaxis(x, 0, -1)[None])).ravel(), expected, 1e-5)
    identical(to_torch(layer), state_dict)


def test_separate_projections():
    state_dict, [x, _, _], [expected, _] = case("mha")
    q, k, v = np.split(state_dict.pop("in_proj_weight"), 3)
    state_dict |= {"q_proj_weight": q, "k_proj_weight": k, "v_proj_weight": v}
    model = from_torch(nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs), state_dict)
    near(run(model, x), expected, 1e-5)
    identical(to_torch(model, like=state_dict), state_dict)
