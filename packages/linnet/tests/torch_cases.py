"""PyTorch 2.15's results for layers, in data/torch_layers, and models that several tests use.

Each file holds a state dict (`sd.*`), inputs (`in.*`) and outputs (`out.*`) of one of PyTorch's
layers or of a small model, in float32, in evaluation mode and with random weights.
"""

from pathlib import Path

import jax
import numpy as np
import pytest

from comparing import identical
from linnet import linen as nn
from linnet import nnx
from linnet.weights import from_torch

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


def run(model, *inputs, **options):
    """The output of a model: an nnx module, or a pair of a linen module and its variables.

    It runs as one program: compiling one for each operation takes several times as long.
    """
    if isinstance(model, tuple):
        module, variables = model
        return jax.jit(lambda v, *x: module.apply(v, *x, **options))(variables, *inputs)
    return nnx.jit(lambda model, *x: model(*x, **options))(model, *inputs)


def one(y):
    return [y]


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
