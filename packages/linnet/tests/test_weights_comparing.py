"""`compare_intermediates`: which layer's outputs are the first to diverge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet import linen as nn
from linnet import nnx
from linnet.errors import ArgumentError, ArgumentTypeError
from linnet.weights import compare_intermediates

X = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(8, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)

    def __call__(self, x):
        return x + self.norm(self.dense(x))


class Model(nnx.Module):
    def __init__(self, repeated):
        rngs = nnx.Rngs(0)
        pair = [lambda rngs: Block(rngs), lambda rngs: Block(rngs)]
        if repeated == "alternating":
            self.layers = nnx.Repeat(pair, 4, rngs=rngs)
        elif repeated:
            self.layers = nnx.Repeat(Block, 4, rngs=rngs)
        else:
            self.layers = nnx.Sequential(*(Block(rngs) for _ in range(4)))

    def __call__(self, x):
        return self.layers(x)


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.LayerNorm(name="norm")(nn.Dense(8, name="dense")(x))


class LinenModel(nn.Module):
    repeated: bool

    @nn.compact
    def __call__(self, x):
        if self.repeated == "alternating":
            return nn.Repeat([LinenBlock(), LinenBlock()], 4, name="layers")(x)
        if self.repeated:
            return nn.Repeat(LinenBlock, 4, name="layers")(x)
        for i in range(4):
            x = LinenBlock(name=f"layers_{i}")(x)
        return x


def outputs_of(style, repeated):
    """Our intermediate results, and the parameters of the layers one by one."""
    if style == "nnx":
        model = Model(repeated)
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))["layers"]
        return nnx.capture(model, method_outputs=nnx.Intermediate)(X)[1], params
    module = LinenModel(repeated)
    variables = module.init(jax.random.key(0), X)
    collected = {"capture_intermediates": True, "mutable": ["intermediates"]}
    return module.apply(variables, X, **collected)[1], variables["params"]


def layer_of(params, i, repeated):
    if repeated == "alternating":
        return jax.tree.map(lambda x: x[i // 2], params.get("layers", params)[f"block_{i % 2}"])
    if repeated:
        return jax.tree.map(lambda x: x[i], params.get("layers", params)["block"])
    return params[f"layers_{i}"] if "layers_0" in params else params["layers"][i]


def torch_outputs(params, repeated, fault=None):
    """The outputs that hooks on the same model would record: inner layers end before outer ones."""
    found, x = {}, X.astype(np.float64)
    for i in range(4):
        p = jax.tree.map(lambda x: np.asarray(x, np.float64), layer_of(params, i, repeated))
        y = x @ p["dense"]["kernel"] + p["dense"]["bias"]
        found[f"model.h.{i}.fc"] = y
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        y = y * p["norm"]["scale"] + p["norm"]["bias"]
        y = y * 1.1 if i == fault else y
        found[f"model.h.{i}.ln"] = y
        x = x + y
        found[f"model.h.{i}"] = (x, None)  # and its cache, as layers of transformers return both
    return found | {"model": x, "": x}


NAMES = {"model": "", "h": "layers", ".fc": "dense", ".ln": "norm"}


@pytest.mark.parametrize("style", ["nnx", "linen"])
@pytest.mark.parametrize("repeated", [False, True, "alternating"])
def test_the_first_layer_that_differs(style, repeated):
    ours, params = outputs_of(style, repeated)
    same = compare_intermediates(ours, torch_outputs(params, repeated), rename=NAMES)
    assert same.first is None
    assert len(same.layers) == 13
    assert same.unmatched == {}
    assert max(layer.difference for layer in same.layers) < 1e-5
    assert str(same).endswith("All 13 outputs agree within 1e-04.")
    found = compare_intermediates(ours, torch_outputs(params, repeated, fault=2), rename=NAMES)
    assert found.first.theirs == "model.h.2.ln"
    assert found.first.difference == pytest.approx(1 / 11, rel=1e-2)
    assert found.layers.index(found.first) == 7
    text = str(found)
    assert "<- first" in next(line for line in text.splitlines() if "model.h.2.ln" in line)
    assert "diverge at model.h.2.ln" in text
    assert text.endswith("after 7 layers that agree.")


def test_arrangements():
    image = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    heads = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    ours = {
        "conv": np.moveaxis(image, 1, -1),
        "query": heads.reshape(2, 3, 2, 4),
        "square": np.moveaxis(image[:, :, :3, :3], 1, -1),
        "other": np.zeros((2, 2)),
        "nan": np.array([1.0, np.nan]),
        "empty": np.zeros((0, 3)),
    }
    theirs = {
        "conv": image,
        "query": heads,
        "square": image[:, :, :3, :3],
        "empty": np.zeros((0, 3)),
        "other": np.zeros(3),
        "nan": np.array([1.0, 2.0]),
    }
    found = compare_intermediates(ours, theirs)
    assert [layer.note for layer in found.layers] == [
        "channels last",
        "(2, 3, 8) reshaped",
        "channels last",
        "",
        "PyTorch's has shape (3,)",
        "",
    ]
    assert [layer.difference for layer in found.layers] == [0, 0, 0, 0, np.inf, np.inf]
    assert found.first.theirs == "other"


def test_names_without_a_counterpart():
    ours = {"encoder": {"dense": jnp.ones(2), "norm": jnp.ones(2)}}
    theirs = {"encoder.dense": np.ones(2), "encoder.norms": np.ones(2), "loss": np.ones(())}
    found = compare_intermediates(ours, theirs)
    assert found.unmatched["encoder.norms"][0] == "encoder/norm"
    assert found.unmatched["loss"] == []
    assert "Not compared: encoder.norms; nearest: encoder/norm" in str(found)
    assert compare_intermediates(ours, theirs, ignore=["*.norms", "loss"]).unmatched == {}
    many = theirs | {f"loss.{i}": np.ones(()) for i in range(30)}
    assert str(compare_intermediates(ours, many)).endswith("… and 12 more")


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "error", "match"),
    [
        ({"a": X}, [X], {}, ArgumentTypeError, "theirs is a list"),
        ({"a": X}, {"a": "x"}, {}, ArgumentTypeError, "'a' is a str"),
        ({}, {"a": X}, {}, ArgumentError, "no outputs to compare"),
        ({"a": X}, {"b": X}, {}, ArgumentError, "None of PyTorch's 1 names, such as 'b'"),
        ({"a": X}, {"a": X}, {"tolerance": 0}, ArgumentError, "tolerance=0"),
    ],
)
def test_bad_input(ours, theirs, options, error, match):
    with pytest.raises(error, match=match):
        compare_intermediates(ours, theirs, **options)
