"""Loads what PyTorch 2.15 computed: `data/torch_layers/NAME.npz`.

Each file holds a state dict (`sd.*`), inputs (`in.*`) and outputs (`out.*`) of one of PyTorch's
layers or of a small model, in float32, in evaluation mode and with random weights.
"""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError, ArgumentTypeError, ShapeError
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


def linear(seed=0, **options):
    return nnx.Linear(5, 7, rngs=nnx.Rngs(seed), **options)


def state_of(**shapes):
    draw = np.random.default_rng(0)
    return {k: draw.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}


def refused(error, model, state_dict, match, **options):
    """The message of the error, after a check that nothing was changed."""
    before = nnx.to_pure_dict(nnx.state(model))
    with pytest.raises(error, match=match) as caught:
        from_torch(model, state_dict, **options)
    identical(nnx.to_pure_dict(nnx.state(model)), before)
    return str(caught.value)


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


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_after_training(name):
    """The biases that PyTorch adds are as they were, together with the change."""
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


class FromTorch:
    """What of a PyTorch tensor is used."""

    def __init__(self, array, dtype):
        self.array, self.dtype, self.shape = array, dtype, array.shape

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return FromTorch(self.array.astype(np.float32), "torch.float32")

    def numpy(self):
        assert self.dtype != "torch.bfloat16"
        return self.array


def test_tensors_of_pytorch():
    half = {k: v.astype(jnp.bfloat16) for k, v in state_of(weight=(7, 5), bias=(7,)).items()}
    tensors = {k: FromTorch(v, "torch.bfloat16") for k, v in half.items()}
    layer = from_torch(linear(param_dtype=jnp.bfloat16), tensors)
    identical(to_torch(layer), half)


def test_the_state_dict_may_change_later():
    state_dict = state_of(weight=(64, 64), bias=(64,))
    layer = from_torch(nnx.Linear(64, 64, rngs=rngs), state_dict)
    before = to_torch(layer)["bias"].copy()
    state_dict["bias"][:] = 0
    identical(to_torch(layer)["bias"], before)


def test_an_abstract_module():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    layer = nnx.eval_shape(linear)
    for variable in jax.tree.leaves(nnx.state(layer), is_leaf=lambda v: isinstance(v, nnx.Param)):
        value = variable.get_value()
        struct = jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)
        variable.set_value(struct)
    state_dict, [x], [expected] = case("linear")
    near(from_torch(layer, state_dict)(x), expected, 1e-5)


def test_boxes_stay():
    module = nn.Dense(7, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, "x")))
    state_dict, [x], [expected] = case("linear")
    variables = module.init(jax.random.key(0), x)
    loaded = from_torch(module, state_dict, variables=variables)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    near(module.apply(nn.unbox(loaded), x), expected, 1e-5)
    identical(to_torch(module, variables=loaded), state_dict)


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
    """Wrappers and cells whose layers are their neighbors."""

    @nn.compact
    def __call__(self, x):
        x = nn.SpectralNorm(nn.Dense(4))(x, update_stats=False)
        return nn.RNN(nn.LSTMCell(7), name="lstm")(x)


def test_layers_beside_what_holds_them():
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


def test_flattened_of_another_name():
    state_dict, *_ = case("cnn_flatten")
    flattened = {"classifier.2": (8, 2, 2)}
    refused(ArgumentError, Convolutional(rngs), state_dict, "no classifier.2", flattened=flattened)


@pytest.mark.parametrize("window", [(3,), (2, 3), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(window, groups):
    """Against a loop over the window; 4 groups of 4 channels are a depthwise convolution."""
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
    near(model(x), expected, 1e-5)
    identical(to_torch(model, like=state_dict), state_dict)


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


def test_variables_without_tensors():
    """What is added to a loaded model keeps its values."""
    state_dict, [x], [expected] = case("linear")
    layer = nnx.LoRALinear(5, 7, lora_rank=2, rngs=nnx.Rngs(0))
    refused(ArgumentError, layer, state_dict, "no tensor for lora/lora_a")
    before = np.asarray(layer.lora.lora_a[...])
    from_torch(layer, state_dict, ignore=["*lora_?"])
    identical(np.asarray(layer.lora.lora_a[...]), before)
    near(layer(x), expected, 1e-5)
    identical(to_torch(layer, like=state_dict, ignore="*lora_?"), state_dict)


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


def test_places_and_dtypes_stay():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    state_dict, *_ = case("linear")
    layer = linear(param_dtype=jnp.bfloat16)
    layer.kernel[...] = jax.device_put(layer.kernel[...], sharding)
    from_torch(layer, state_dict)
    assert (layer.kernel[...].sharding, layer.kernel.dtype) == (sharding, jnp.bfloat16)
    identical(np.asarray(layer.kernel[...]), state_dict["weight"].T.astype(jnp.bfloat16))
    module = nn.Dense(7, param_dtype=jnp.bfloat16)
    place = jax.ShapeDtypeStruct((5, 7), jnp.float16, sharding=sharding)
    variables = {"params": {"kernel": place, "bias": jnp.zeros(7)}}
    kernel = from_torch(module, state_dict, variables=variables)["params"]["kernel"]
    assert (kernel.sharding, kernel.dtype) == (sharding, jnp.float16)


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
    near(adapted(x_of()), plain(x_of()), 1e-6)
    identical(to_torch(adapted, like=separate, ignore=["*/lora_?"]), separate)
    peft = to_torch(adapted)
    assert not any("base_module" in name for name in peft)
    assert peft["layers.1.attention.query.lora_A.weight"].shape == (2, 8)
    assert peft["layers.0.mlp.up.lora_B.weight"].shape == (6, 2)
    again = from_torch(Model(2), peft)
    identical(nnx.state(again), nnx.state(adapted))


def test_keys_without_a_bias():
    """Whisper and BEiT have none: it adds the same to all logits of a query."""
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
